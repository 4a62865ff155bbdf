// Package watch keeps the latest events of the sessions that someone watches. One
// query catches up for all live watchers of a session; a slow watcher reads its
// own history and holds up nobody.
package watch

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/poco-ai/poco/db/dbgen"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/backend/internal/hint"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/internal/logging"
)

const (
	// Heartbeat is how long a stream is silent at most. Proxies on the way end one
	// that is silent for longer, nginx after 60 seconds.
	Heartbeat = 15 * time.Second
	// PollInterval is the backup for hints that were lost.
	PollInterval = 5 * time.Second
	// retryInterval is the pause after a query that failed.
	retryInterval = 500 * time.Millisecond
	// pageEvents and pageBytes bound one query for events.
	pageEvents = 500
	pageBytes  = 1 << 20
	// bufferEvents and bufferBytes bound what a session keeps for its live
	// watchers; who is further behind reads from the database.
	bufferEvents = 1024
	bufferBytes  = 4 << 20
	// bufferPartials bounds the text being written that is kept for watchers.
	bufferPartials = 512
)

// Feeds are the feeds of all sessions that are watched at this backend.
type Feeds struct {
	store  *store.Store
	bus    *hint.Bus
	logger *slog.Logger

	mu    sync.Mutex
	feeds map[string]*Feed // by session id
	ended bool
	tasks sync.WaitGroup
}

// NewFeeds returns feeds that read from a store what they hear of on a bus.
func NewFeeds(st *store.Store, bus *hint.Bus, logger *slog.Logger) *Feeds {
	return &Feeds{store: st, bus: bus, logger: logger, feeds: make(map[string]*Feed)}
}

// Run looks for what hints missed until ctx is done, and then ends the feeds:
// they catch up with nothing any more.
func (f *Feeds) Run(ctx context.Context) error {
	defer f.end()
	ticker := time.NewTicker(PollInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			f.poll(ctx)
		}
	}
}

func (f *Feeds) end() {
	f.mu.Lock()
	f.ended = true
	for _, feed := range f.feeds {
		feed.cancel()
	}
	f.mu.Unlock()
	f.tasks.Wait()
}

// poll asks once for all watched sessions.
func (f *Feeds) poll(ctx context.Context) {
	f.mu.Lock()
	ids := make([]string, 0, len(f.feeds))
	for id := range f.feeds {
		ids = append(ids, id)
	}
	f.mu.Unlock()
	if len(ids) == 0 {
		return
	}
	rows, err := f.store.Read().SessionLastSeqs(ctx, ids)
	if err != nil {
		if ctx.Err() == nil {
			f.logger.WarnContext(ctx, "look for missed events", logging.KeyError, err)
		}
		return
	}
	for _, row := range rows {
		f.mu.Lock()
		feed := f.feeds[row.ID]
		f.mu.Unlock()
		switch {
		case feed == nil:
		case row.Deleted:
			feed.markDeleted()
		default:
			feed.Want(row.LastSeq)
		}
	}
}

// Join returns the session's feed, live from the given number on, and a function
// to leave it with.
func (f *Feeds) Join(sessionID string, lastSeq int64) (*Feed, func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	feed := f.feeds[sessionID]
	if feed == nil {
		// It outlives its first watcher, and ends with the last one.
		ctx, cancel := context.WithCancel(context.Background())
		feed = &Feed{
			feeds: f, id: sessionID, pos: lastSeq, target: lastSeq, first: lastSeq + 1, cancel: cancel,
			hints: f.bus.Subscribe(hint.Session(sessionID)), wake: make(chan struct{}, 1),
		}
		f.feeds[sessionID] = feed
		if f.ended {
			cancel()
		}
		f.tasks.Go(func() { feed.run(ctx) })
	}
	feed.watchers++
	return feed, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if feed.watchers--; feed.watchers == 0 {
			delete(f.feeds, sessionID)
			feed.cancel()
		}
	}
}

// Read reads one page of a session's events after a number.
func (f *Feeds) Read(ctx context.Context, sessionID string, after int64) ([]*backendv1.SessionEvent, error) {
	rows, err := f.store.Read().RunEventListAfter(ctx, dbgen.RunEventListAfterParams{
		SessionID: sessionID, AfterSeq: after, MaxEvents: pageEvents, MaxBytes: pageBytes,
	})
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	events := make([]*backendv1.SessionEvent, 0, len(rows))
	var changed []*backendv1.FileChange
	for _, row := range rows {
		payload, err := store.DecodePayload(row.Payload)
		if err != nil {
			return nil, fmt.Errorf("decode event %d of session %s: %w", row.Seq, sessionID, err)
		}
		e := &backendv1.SessionEvent{Seq: row.Seq, RunSeq: row.RunSeq, OccurredAt: timestamppb.New(row.OccurredAt), Payload: payload}
		if row.RunID != nil {
			e.RunId = *row.RunID
		}
		events = append(events, e)
		changed = append(changed, payload.GetFilesChanged().GetFiles()...)
	}
	return events, f.store.FillDiffs(ctx, sessionID, changed)
}
