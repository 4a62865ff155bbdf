package watch

import (
	"context"
	"sync"

	"google.golang.org/protobuf/proto"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/backend/internal/hint"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/retry"
)

// Feed is the latest events of a session, for all who watch it.
type Feed struct {
	feeds    *Feeds
	id       string
	watchers int // guarded by feeds.mu
	cancel   context.CancelFunc
	hints    *hint.Subscription
	wake     chan struct{}
	changed  hint.Signal

	mu      sync.Mutex
	target  int64 // the last event known to exist
	pos     int64 // the last event in the buffer
	first   int64 // the first event in the buffer
	events  []buffered
	bytes   int
	deleted bool
	// Text being written is kept for a while under numbers of its own.
	partials     []*backendv1.PartialContent
	partialFirst int64 // number of partials[0]
	messageSeq   map[string]int64
}

type buffered struct {
	event *backendv1.SessionEvent
	bytes int
}

// Want makes the feed catch up to an event.
func (f *Feed) Want(seq int64) {
	f.mu.Lock()
	ahead := seq > f.pos
	f.target = max(f.target, seq)
	f.mu.Unlock()
	if ahead {
		f.poke()
	}
}

// Changed returns a channel that is closed when After has more to say. Take it
// before After.
func (f *Feed) Changed() <-chan struct{} { return f.changed.C() }

func (f *Feed) markDeleted() {
	f.mu.Lock()
	f.deleted = true
	f.mu.Unlock()
	f.changed.Notify()
}

func (f *Feed) poke() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// run catches up whenever it is told of something, until the last watcher leaves.
func (f *Feed) run(ctx context.Context) {
	defer f.hints.Close()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		case <-f.hints.Ready():
		}
		news := f.hints.Take()
		if news.Deleted {
			f.markDeleted()
		}
		f.mu.Lock()
		f.target = max(f.target, news.LastSeq)
		f.mu.Unlock()
		f.addNext(news.Events)
		for !f.catchUp(ctx) {
			// The database is away: events stay wanted.
			if !retry.Pause(ctx, retryInterval) {
				return
			}
		}
		// Text being written comes after the events before it.
		f.publishPartials(news.Partials)
	}
}

// addNext adds those events that follow what is there: what this backend has just
// stored need not be read.
func (f *Feed) addNext(events []*backendv1.SessionEvent) {
	f.mu.Lock()
	next, target := f.pos+1, f.target
	f.mu.Unlock()
	var following []*backendv1.SessionEvent
	for _, e := range events {
		if e.GetSeq() == next {
			following = append(following, e)
			next++
		}
	}
	if len(following) > 0 {
		f.add(following, target)
	}
}

// catchUp reads until nothing is missing; false when that failed.
func (f *Feed) catchUp(ctx context.Context) bool {
	for {
		f.mu.Lock()
		pos, target := f.pos, f.target
		f.mu.Unlock()
		if pos >= target {
			return true
		}
		events, err := f.feeds.Read(ctx, f.id, pos)
		if err != nil {
			if ctx.Err() == nil {
				f.feeds.logger.WarnContext(ctx, "read events for watchers", logging.KeySessionID, f.id, logging.KeyError, err)
			}
			return ctx.Err() != nil
		}
		f.add(events, target)
		if len(events) == 0 {
			return true
		}
	}
}

// add puts events into the buffer. No events mean that the target was a guess.
func (f *Feed) add(events []*backendv1.SessionEvent, target int64) {
	f.mu.Lock()
	for _, e := range events {
		size := proto.Size(e)
		f.events = append(f.events, buffered{e, size})
		f.bytes += size
		f.pos = e.GetSeq()
		if e.GetRunSeq() > 0 && e.GetPayload().GetMessageAdded() != nil {
			if f.messageSeq == nil {
				f.messageSeq = make(map[string]int64)
			}
			f.messageSeq[e.GetRunId()] = e.GetRunSeq()
		}
	}
	drop := 0
	for len(f.events)-drop > bufferEvents || (f.bytes > bufferBytes && len(f.events)-drop > 1) {
		f.bytes -= f.events[drop].bytes
		drop++
	}
	if drop > 0 {
		f.events = append([]buffered(nil), f.events[drop:]...)
	}
	if len(f.events) > 0 {
		f.first = f.events[0].event.GetSeq()
	}
	if len(events) == 0 && f.target == target {
		f.target = f.pos
	}
	f.mu.Unlock()
	if len(events) > 0 {
		f.changed.Notify()
	}
}

// publishPartials keeps text for the watchers, unless the message it belongs to
// is already there.
func (f *Feed) publishPartials(partials []*backendv1.PartialContent) {
	if len(partials) == 0 {
		return
	}
	f.mu.Lock()
	for _, p := range partials {
		if p.GetAfterRunSeq() >= f.messageSeq[p.GetRunId()] {
			f.partials = append(f.partials, p)
		}
	}
	if drop := len(f.partials) - bufferPartials; drop > 0 {
		f.partials = append([]*backendv1.PartialContent(nil), f.partials[drop:]...)
		f.partialFirst += int64(drop)
	}
	f.mu.Unlock()
	f.changed.Notify()
}

// View is what a watcher at a cursor sees of a feed.
type View struct {
	Events   []*backendv1.SessionEvent
	Partials []*backendv1.PartialContent
	// NextPartial is the watcher's next cursor for partials.
	NextPartial int64
	// Behind says that the feed no longer has the watcher's next event: read it.
	Behind bool
	// Deleted says that the session was deleted.
	Deleted bool
}

// After returns what comes after a watcher's two cursors.
func (f *Feed) After(seq, partial int64) View {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := View{Deleted: f.deleted, NextPartial: f.partialFirst + int64(len(f.partials))}
	if seq < f.pos && seq+1 < f.first {
		v.Behind = true
		return v
	}
	if seq < f.pos {
		for _, b := range f.events[seq+1-f.first:] {
			v.Events = append(v.Events, b.event)
		}
	}
	if from := max(partial, f.partialFirst); from < v.NextPartial {
		v.Partials = append(v.Partials, f.partials[from-f.partialFirst:]...)
	}
	return v
}

// PartialEnd is the cursor of a watcher that wants only text still to come.
func (f *Feed) PartialEnd() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.partialFirst + int64(len(f.partials))
}
