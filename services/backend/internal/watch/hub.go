// Package watch pushes sessions' events to anyone who watches. One query catches up
// for all live watchers of a session; a slow watcher falls back to reading its
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
	// heartbeatInterval is how long a stream is silent at most. Proxies on the way
	// end one that is silent for longer, nginx after 60 seconds.
	heartbeatInterval = 15 * time.Second
	// pollInterval is the backup for hints that were missed.
	pollInterval = 5 * time.Second
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

// Hub serves the watchers of this backend.
type Hub struct {
	store  *store.Store
	logger *slog.Logger

	// Heartbeat is how long a stream is silent at most. It is not changed once
	// something is watched.
	Heartbeat time.Duration

	// Queue wakes claimers.
	Queue hint.Signal

	mu      sync.Mutex
	topics  map[string]*topic
	lists   map[string]map[*listWatch]struct{} // by user key
	workers map[string]*workerSignal
	ctx     context.Context //nolint:containedctx // bounds the catching up of all topics, see Run
	tasks   sync.WaitGroup
}

type workerSignal struct {
	hint.Signal
	users int
}

// NewHub returns a hub without a store; see Attach.
func NewHub(logger *slog.Logger) *Hub {
	return &Hub{
		logger: logger, Heartbeat: heartbeatInterval, ctx: context.Background(), topics: make(map[string]*topic),
		lists: make(map[string]map[*listWatch]struct{}), workers: make(map[string]*workerSignal),
	}
}

// Attach gives the hub the store it reads from, before anything is watched. The
// store's hints go to the hub, so neither can be made with the other.
func (h *Hub) Attach(ctx context.Context, st *store.Store) { h.ctx, h.store = ctx, st }

// Run looks for what hints missed until ctx is done, and then waits for the
// hub's goroutines to end.
func (h *Hub) Run(ctx context.Context) error {
	defer h.tasks.Wait()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			h.poll(ctx)
		}
	}
}

// poll asks once for all watched sessions.
func (h *Hub) poll(ctx context.Context) {
	h.mu.Lock()
	ids := make([]string, 0, len(h.topics))
	for id := range h.topics {
		ids = append(ids, id)
	}
	h.mu.Unlock()
	if len(ids) == 0 {
		return
	}
	rows, err := h.store.Read().SessionLastSeqs(ctx, ids)
	if err != nil {
		if ctx.Err() == nil {
			h.logger.WarnContext(ctx, "look for missed events", logging.KeyError, err)
		}
		return
	}
	for _, row := range rows {
		h.wakeTopic(row.ID, row.LastSeq, row.Deleted)
	}
}

// Hint implements hint.Handler.
func (h *Hub) Hint(set hint.Set) {
	for id, seq := range set.Sessions {
		h.wakeTopic(id, seq, false)
	}
	for id := range set.Deleted {
		h.wakeTopic(id, 0, true)
	}
	if set.Queue {
		h.Queue.Notify()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for id := range set.Workers {
		if w := h.workers[id]; w != nil {
			w.Notify()
		}
	}
	for sessionID, key := range set.Listed {
		for l := range h.lists[key] {
			l.mark(sessionID)
		}
	}
}

// Partials implements hint.Handler.
func (h *Hub) Partials(sessionID string, partials []*backendv1.PartialContent) {
	h.mu.Lock()
	t := h.topics[sessionID]
	h.mu.Unlock()
	if t != nil {
		t.addPartials(partials)
	}
}

// WakeAll implements hint.Handler.
func (h *Hub) WakeAll() {
	h.Queue.Notify()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.topics {
		t.want(unknownSeq)
	}
	for _, w := range h.workers {
		w.Notify()
	}
	for _, watches := range h.lists {
		for l := range watches {
			l.resync()
		}
	}
}

// Worker returns the signal of a worker's commands; call release when done.
func (h *Hub) Worker(id string) (signal *hint.Signal, release func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := h.workers[id]
	if w == nil {
		w = &workerSignal{}
		h.workers[id] = w
	}
	w.users++
	return &w.Signal, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if w.users--; w.users == 0 {
			delete(h.workers, id)
		}
	}
}

func (h *Hub) wakeTopic(id string, seq int64, deleted bool) {
	h.mu.Lock()
	t := h.topics[id]
	h.mu.Unlock()
	if t == nil {
		return
	}
	if deleted {
		t.markDeleted()
	}
	t.want(seq)
}

// join returns the session's topic, live from the given number on, and a
// function to leave it with.
func (h *Hub) join(sessionID string, lastSeq int64) (*topic, func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.topics[sessionID]
	if t == nil {
		ctx, cancel := context.WithCancel(h.ctx)
		t = &topic{hub: h, id: sessionID, pos: lastSeq, target: lastSeq, first: lastSeq + 1, cancel: cancel, wake: make(chan struct{}, 1)}
		h.topics[sessionID] = t
		h.tasks.Go(func() { t.pump(ctx) })
	}
	t.watchers++
	return t, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if t.watchers--; t.watchers == 0 {
			delete(h.topics, sessionID)
			t.cancel()
		}
	}
}

// readEvents reads one page of a session's events after a number.
func (h *Hub) readEvents(ctx context.Context, sessionID string, after int64) ([]*backendv1.SessionEvent, error) {
	rows, err := h.store.Read().RunEventListAfter(ctx, dbgen.RunEventListAfterParams{
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
	return events, h.store.FillDiffs(ctx, sessionID, changed)
}

// heartbeat says that a stream is alive.
func heartbeat() *backendv1.Heartbeat { return &backendv1.Heartbeat{Time: timestamppb.Now()} }
