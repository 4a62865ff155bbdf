package watch

import (
	"context"
	"math"
	"sync"

	"google.golang.org/protobuf/proto"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/backend/internal/hint"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/retry"
)

// unknownSeq asks for whatever there is.
const unknownSeq = math.MaxInt64

// topic is a session that someone watches: its latest events, for all of them.
type topic struct {
	hub      *Hub
	id       string
	watchers int // guarded by hub.mu
	cancel   context.CancelFunc
	wake     chan struct{}
	changed  hint.Signal

	mu      sync.Mutex
	target  int64 // the last event known to exist
	pos     int64 // the last event in the buffer
	first   int64 // the first event in the buffer
	events  []buffered
	bytes   int
	deleted bool
	// Text being written waits for the events before it, then is kept for a
	// while under numbers of its own.
	incoming     []*backendv1.PartialContent
	partials     []*backendv1.PartialContent
	partialFirst int64 // number of partials[0]
	messageSeq   map[string]int64
}

type buffered struct {
	event *backendv1.SessionEvent
	bytes int
}

// want makes the topic catch up to an event.
func (t *topic) want(seq int64) {
	t.mu.Lock()
	ahead := seq > t.pos
	t.target = max(t.target, seq)
	t.mu.Unlock()
	if ahead {
		t.poke()
	}
}

func (t *topic) addPartials(partials []*backendv1.PartialContent) {
	t.mu.Lock()
	if len(t.incoming) < bufferPartials {
		t.incoming = append(t.incoming, partials...)
	}
	t.mu.Unlock()
	t.poke()
}

func (t *topic) markDeleted() {
	t.mu.Lock()
	t.deleted = true
	t.mu.Unlock()
	t.changed.Notify()
}

func (t *topic) poke() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// pump catches up whenever it is woken, until the last watcher leaves.
func (t *topic) pump(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.wake:
		}
		t.mu.Lock()
		incoming := t.incoming
		t.incoming = nil
		t.mu.Unlock()
		for !t.catchUp(ctx) {
			// The database is away: events stay wanted.
			if !retry.Pause(ctx, retryInterval) {
				return
			}
		}
		t.publishPartials(incoming)
	}
}

// catchUp reads until nothing is missing; false when that failed.
func (t *topic) catchUp(ctx context.Context) bool {
	for {
		t.mu.Lock()
		pos, target := t.pos, t.target
		t.mu.Unlock()
		if pos >= target {
			return true
		}
		events, err := t.hub.readEvents(ctx, t.id, pos)
		if err != nil {
			if ctx.Err() == nil {
				t.hub.logger.WarnContext(ctx, "read events for watchers", logging.KeySessionID, t.id, logging.KeyError, err)
			}
			return ctx.Err() != nil
		}
		t.add(events, target)
		if len(events) == 0 {
			return true
		}
	}
}

// add puts events into the buffer. No events mean that the target was a guess.
func (t *topic) add(events []*backendv1.SessionEvent, target int64) {
	t.mu.Lock()
	for _, e := range events {
		size := proto.Size(e)
		t.events = append(t.events, buffered{e, size})
		t.bytes += size
		t.pos = e.GetSeq()
		if e.GetRunSeq() > 0 && e.GetPayload().GetMessageAdded() != nil {
			if t.messageSeq == nil {
				t.messageSeq = make(map[string]int64)
			}
			t.messageSeq[e.GetRunId()] = e.GetRunSeq()
		}
	}
	drop := 0
	for len(t.events)-drop > bufferEvents || (t.bytes > bufferBytes && len(t.events)-drop > 1) {
		t.bytes -= t.events[drop].bytes
		drop++
	}
	if drop > 0 {
		t.events = append([]buffered(nil), t.events[drop:]...)
	}
	if len(t.events) > 0 {
		t.first = t.events[0].event.GetSeq()
	}
	if len(events) == 0 && t.target == target {
		t.target = t.pos
	}
	t.mu.Unlock()
	if len(events) > 0 {
		t.changed.Notify()
	}
}

// publishPartials keeps text for the watchers, unless the message it belongs to
// is already there.
func (t *topic) publishPartials(partials []*backendv1.PartialContent) {
	if len(partials) == 0 {
		return
	}
	t.mu.Lock()
	for _, p := range partials {
		if p.GetAfterRunSeq() >= t.messageSeq[p.GetRunId()] {
			t.partials = append(t.partials, p)
		}
	}
	if drop := len(t.partials) - bufferPartials; drop > 0 {
		t.partials = append([]*backendv1.PartialContent(nil), t.partials[drop:]...)
		t.partialFirst += int64(drop)
	}
	t.mu.Unlock()
	t.changed.Notify()
}

// view is what a watcher at a cursor sees of the topic.
type view struct {
	events   []*backendv1.SessionEvent
	partials []*backendv1.PartialContent
	// nextPartial is the watcher's next cursor for partials.
	nextPartial int64
	// behind says that the buffer no longer has the watcher's next event.
	behind  bool
	deleted bool
}

// after returns what comes after a watcher's two cursors.
func (t *topic) after(seq, partial int64) view {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := view{deleted: t.deleted, nextPartial: t.partialFirst + int64(len(t.partials))}
	if seq < t.pos && seq+1 < t.first {
		v.behind = true
		return v
	}
	if seq < t.pos {
		for _, b := range t.events[seq+1-t.first:] {
			v.events = append(v.events, b.event)
		}
	}
	if from := max(partial, t.partialFirst); from < v.nextPartial {
		v.partials = append(v.partials, t.partials[from-t.partialFirst:]...)
	}
	return v
}

// partialEnd is the cursor of a watcher that wants only text still to come.
func (t *topic) partialEnd() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.partialFirst + int64(len(t.partials))
}
