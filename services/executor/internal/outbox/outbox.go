// Package outbox numbers a run's events and keeps them until they are
// acknowledged.
package outbox

import (
	"errors"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/internal/journal"
	"github.com/poco-ai/poco/services/internal/partial"
)

// Bounds of what is kept in memory. When the manager is away for long, reading
// from the agent stops there and goes on once it is back.
const (
	maxEvents = 20_000
	maxBytes  = 64 << 20
	// maxPartialBytes is where text that is being written is dropped instead of
	// kept: the whole text follows as a message.
	maxPartialBytes = 64 << 10
	// PartialDelay is how long text is collected before it is sent.
	PartialDelay = 30 * time.Millisecond
	// partialFlush is how much text is sent without waiting.
	partialFlush = 2 << 10
)

// Outbox is safe for concurrent use.
type Outbox struct {
	now func() time.Time

	mu     sync.Mutex
	runID  string
	last   int64
	acked  int64
	events []*executorv1.RunEvent
	bytes  int
	closed bool
	// finished is set by the terminal event.
	finished bool
	// journal keeps what is not acknowledged on the disk; nil without one.
	journal *journal.Writer
	// broken hears that it cannot any more.
	broken func(error)
	// changed is closed and replaced on every change; room when space was freed.
	changed, room chan struct{}

	partials     []*backendv1.PartialContent
	partialBytes int
	partialSince time.Time
}

// New returns an outbox whose first event gets number next.
func New(runID string, next int64) *Outbox {
	return &Outbox{
		now: time.Now, runID: runID, last: next - 1, acked: next - 1,
		changed: make(chan struct{}), room: make(chan struct{}),
	}
}

// Keep writes all that comes into a journal, until it is acknowledged. What goes
// wrong with it is told to broken, once, and holds nothing up.
func (o *Outbox) Keep(j *journal.Writer, broken func(error)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.journal, o.broken = j, broken
}

// keep does something with the journal. One that cannot be written is removed:
// that it is missing tells more than a part of it. The lock is held.
func (o *Outbox) keep(do func(*journal.Writer) error) {
	if o.journal == nil {
		return
	}
	if err := do(o.journal); err != nil {
		broken := o.broken
		err = errors.Join(err, o.journal.Remove())
		o.journal = nil
		go broken(err) // it may report an event
	}
}

// LetGo leaves the journal to anyone who delivers the rest.
func (o *Outbox) LetGo() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.journal != nil {
		_ = o.journal.Close() // written already
		o.journal = nil
	}
}

// Append numbers an event and keeps it. It never blocks; see Room.
func (o *Outbox) Append(payload *executorv1.RunEventPayload) int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	if payload.GetMessageAdded().GetRole() == backendv1.MessageRole_MESSAGE_ROLE_ASSISTANT {
		// The text that was being written is in it.
		o.dropPartials()
	}
	if o.finished {
		return o.last // nothing follows the end
	}
	o.finished = payload.GetRunFinished() != nil
	o.last++
	e := &executorv1.RunEvent{RunSeq: o.last, OccurredAt: timestamppb.New(o.now()), Payload: payload}
	o.events = append(o.events, e)
	o.bytes += proto.Size(e)
	o.keep(func(j *journal.Writer) error { return j.Append(e) })
	o.notify()
	return o.last
}

// Close says that nothing comes any more.
func (o *Outbox) Close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.notify()
}

// Partial adds text that is being written. It is dropped rather than kept for
// long.
func (o *Outbox) Partial(p *backendv1.PartialContent) {
	o.mu.Lock()
	defer o.mu.Unlock()
	size := partial.Size(p)
	if o.partialBytes+size > maxPartialBytes {
		o.dropPartials()
		return
	}
	o.partialBytes += size
	p.RunId, p.AfterRunSeq = o.runID, o.last
	if len(o.partials) == 0 {
		o.partialSince = o.now()
	} else if partial.Join(o.partials[len(o.partials)-1], p) {
		if o.partialBytes >= partialFlush {
			o.notify()
		}
		return
	}
	o.partials = append(o.partials, p)
	o.notify()
}

func (o *Outbox) dropPartials() {
	o.partials, o.partialBytes = nil, 0
}

// Ack forgets the events up to seq, which are committed.
func (o *Outbox) Ack(seq int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	seq = min(seq, o.last)
	if seq <= o.acked {
		return
	}
	o.acked = seq
	n := 0
	for n < len(o.events) && o.events[n].GetRunSeq() <= seq {
		o.bytes -= proto.Size(o.events[n])
		n++
	}
	o.events = append([]*executorv1.RunEvent(nil), o.events[n:]...)
	if len(o.events) == 0 {
		o.keep((*journal.Writer).Reset)
		if o.closed && o.journal != nil {
			o.keep((*journal.Writer).Remove)
			o.journal = nil
		}
	}
	close(o.room)
	o.room = make(chan struct{})
	o.notify()
}

// Room returns nil when more events can be taken, else a channel that is
// closed when it is worth looking again.
func (o *Outbox) Room() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.events) < maxEvents && o.bytes < maxBytes {
		return nil
	}
	return o.room
}

// Changed returns a channel that is closed at the next change.
func (o *Outbox) Changed() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.changed
}

// Position returns the last number given and the last one acknowledged.
func (o *Outbox) Position() (last, acked int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last, o.acked
}

// Delivered says whether the outbox is closed and all of it acknowledged.
func (o *Outbox) Delivered() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closed && len(o.events) == 0
}

// After returns up to limit bytes of events after seq, at least one when there
// is one.
func (o *Outbox) After(seq int64, limit int) []*executorv1.RunEvent {
	o.mu.Lock()
	defer o.mu.Unlock()
	first := int(max(0, seq-o.acked))
	if first >= len(o.events) {
		return nil
	}
	n, bytes := first, 0
	for n < len(o.events) {
		bytes += proto.Size(o.events[n])
		if n > first && bytes > limit {
			break
		}
		n++
	}
	return o.events[first:n:n]
}

// TakePartials returns collected text when it is due. Otherwise wait says how
// long to collect more; zero when there is none.
func (o *Outbox) TakePartials() (partials []*backendv1.PartialContent, wait time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.partials) == 0 {
		return nil, 0
	}
	if left := PartialDelay - o.now().Sub(o.partialSince); left > 0 && o.partialBytes < partialFlush {
		return nil, left
	}
	partials = o.partials
	o.dropPartials()
	return partials, 0
}

func (o *Outbox) notify() {
	close(o.changed)
	o.changed = make(chan struct{})
}
