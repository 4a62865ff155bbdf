package runchannel

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// Bounds of what one run may keep in the manager's memory, and of one call.
const (
	// maxBatchEvents is what AppendRunEvents takes.
	maxBatchEvents = 1000
	// maxBatchBytes keeps a call well below the backend's read limit; a single
	// event may be larger.
	maxBatchBytes = 2 << 20
	// maxBufferedBytes and maxBufferedEvents are where reading from the executor
	// stops until the backend has caught up.
	maxBufferedBytes  = 4 << 20
	maxBufferedEvents = 4 * maxBatchEvents
	// maxPartialBytes and maxPartials are where text being written is dropped:
	// the whole text follows as a message.
	maxPartialBytes = 256 << 10
	maxPartials     = 500
	// maxDoneCommands is how many commands a run may be told are done: an
	// executor can name any number.
	maxDoneCommands = 10_000
)

// Queue is the call that events are forwarded with.
type Queue interface {
	AppendRunEvents(context.Context, *queuev1.AppendRunEventsRequest, ...grpc.CallOption) (*queuev1.AppendRunEventsResponse, error)
}

// EndKind says how a link ended.
type EndKind int

// The ends of a link.
const (
	// EndFinal: the run is in a final state in the backend; the terminal event
	// is committed, or the backend ended the run itself.
	EndFinal EndKind = iota + 1
	// EndRevoked: the run is no longer this manager's.
	EndRevoked
	// EndRefused: the backend will never take what the executor reported.
	EndRefused
	// EndClosed: the manager stops and leaves the run to its next start.
	EndClosed
)

// End is how a link ended.
type End struct {
	Kind EndKind
	// Status is the run's, for EndFinal, when known.
	Status backendv1.RunStatus
	// Reason is for people and logs.
	Reason string
}

// LinkOptions describes a held run.
type LinkOptions struct {
	RunID     string
	SessionID string
	// Attempt is the one that may speak.
	Attempt      int32
	FencingToken int64
	// AckedSeq is the last event known to be committed.
	AckedSeq int64
	// LeaseDeadline is until when the run is held.
	LeaseDeadline time.Time
	Queue         Queue
	// Now is the monotonic clock leases are judged by.
	Now    func() time.Time
	Logger *slog.Logger
	// CommandDone hears of commands that took effect. It must not block.
	CommandDone func(commandID string)
}

// Link is the way between a held run's executor and the backend: events and
// text up, commands, acknowledgements and lease renewals down. It lives as
// long as the run is held and outlasts any number of the executor's channels.
//
// It keeps nothing: what is not committed, the executor still has.
type Link struct {
	opts   LinkOptions
	logger *slog.Logger
	ctx    context.Context
	cancel context.CancelCauseFunc
	done   chan struct{}
	// forwarder is the goroutine that calls the backend. The readers of channels
	// end with their streams, which the server closes.
	forwarder sync.WaitGroup

	mu sync.Mutex
	// changed is closed and replaced whenever something below changes.
	changed chan struct{}

	acked    int64 // all up to here are committed
	received int64 // all up to here are committed or in events
	events   []*executorv1.RunEvent
	bytes    int
	partials partialBuffer
	// skipping is true from a gap until the executor resends from received+1.
	skipping bool

	leaseDeadline time.Time
	leaseVersion  int

	commands []*queuev1.RunCommand
	doneIDs  map[string]bool

	current   *session
	connected bool // a channel was open at least once
	goneSince time.Time
	end       *End
}

// NewLink returns the link of a run and starts forwarding. Close must be
// called.
func NewLink(opts LinkOptions) *Link {
	ctx, cancel := context.WithCancelCause(logging.WithRun(context.Background(), opts.RunID, opts.SessionID))
	l := &Link{
		opts: opts, logger: opts.Logger, ctx: ctx, cancel: cancel,
		done: make(chan struct{}), changed: make(chan struct{}),
		acked: opts.AckedSeq, received: opts.AckedSeq,
		leaseDeadline: opts.LeaseDeadline,
		doneIDs:       make(map[string]bool),
		goneSince:     opts.Now(),
	}
	l.forwarder.Go(l.forward)
	return l
}

// RunID is the run's id.
func (l *Link) RunID() string { return l.opts.RunID }

// Done is closed when the link has ended; End says how.
func (l *Link) Done() <-chan struct{} { return l.done }

// Context ends when the link does. Its cause is what Registry.Held says of the
// attempt from then on: Unavailable when the manager stops and the next start
// takes the run over, else NotFound.
func (l *Link) Context() context.Context { return l.ctx }

// End tells how the link ended. Call it after Done.
func (l *Link) End() End {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.end == nil {
		return End{}
	}
	return *l.end
}

// Close ends the link, if nothing has before, and waits for its forwarder. The
// executor's channel ends with it.
func (l *Link) Close() {
	l.finish(End{Kind: EndClosed})
	l.forwarder.Wait()
}

// Revoke ends the link because the run is no longer this manager's. The
// executor is told to stop; nothing more is forwarded.
func (l *Link) Revoke(reason string) {
	l.finish(End{Kind: EndRevoked, Reason: reason})
}

func (l *Link) finish(end End) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.finishLocked(end)
}

func (l *Link) finishLocked(end End) {
	if l.end != nil {
		return
	}
	l.end = &end
	close(l.done)
	if end.Kind == EndClosed {
		l.cancel(errNotReady())
	} else {
		l.cancel(rpcerror.NotFound("run", l.opts.RunID))
	}
	l.notify()
}

// notify wakes everything that waits for a change. The lock is held.
func (l *Link) notify() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// Renew moves the lease's deadline; the executor is told.
func (l *Link) Renew(deadline time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leaseDeadline = deadline
	l.leaseVersion++
	l.notify()
}

// Suspend tells the executor, when the lease has run out, that the manager
// waits for the backend's word: the agent is held, neither at work nor lost.
// Call it as long as that is so, because an executor that hears nothing gives
// its agent up. Only the backend knows whose the run is, so only its answer
// ends the link.
func (l *Link) Suspend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.held() {
		l.leaseVersion++
		l.notify()
	}
}

// AwaitHeld waits until the lease is held, or the link has ended. False when
// ctx ended first.
func (l *Link) AwaitHeld(ctx context.Context) bool { return l.await(ctx, l.held) }

// LeaseDeadline is until when the run is held.
func (l *Link) LeaseDeadline() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.leaseDeadline
}

// held tells whether the lease is known to be held. While it is not, nothing is
// forwarded: a manager that was frozen past its lease finds out here, before it
// says anything. The lock is held.
func (l *Link) held() bool {
	return l.opts.Now().Before(l.leaseDeadline)
}

// Deliver hands a command to the executor, now or when it connects, and again
// on every new channel until it says that it is done. It returns false when
// the command was done before.
func (l *Link) Deliver(cmd *queuev1.RunCommand) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.doneIDs[cmd.GetId()] {
		return false
	}
	for _, c := range l.commands {
		if c.GetId() == cmd.GetId() {
			return true
		}
	}
	l.commands = append(l.commands, cmd)
	l.notify()
	return true
}

// TakeCommands removes and returns what was not done.
func (l *Link) TakeCommands() []*queuev1.RunCommand {
	l.mu.Lock()
	defer l.mu.Unlock()
	commands := l.commands
	l.commands = nil
	return commands
}

// GoneSince tells since when there has been no channel; ok is false while
// there is one. connected tells whether there ever was one.
func (l *Link) GoneSince() (since time.Time, connected, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.goneSince, l.connected, l.current == nil
}

// AwaitClosed waits until the executor has no channel, so that all it sent is
// here. False when ctx ended first.
func (l *Link) AwaitClosed(ctx context.Context) bool {
	return l.await(ctx, func() bool { return l.current == nil })
}

// AwaitFlushed waits until everything received is committed. False when ctx
// ended first.
func (l *Link) AwaitFlushed(ctx context.Context) bool {
	return l.await(ctx, func() bool { return len(l.events) == 0 })
}

// await waits until ok, asked with the lock held, or the link's end.
func (l *Link) await(ctx context.Context, ok func() bool) bool {
	for {
		l.mu.Lock()
		met, changed := l.end != nil || ok(), l.changed
		l.mu.Unlock()
		if met {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// Acked is the number of the last event that is known to be committed.
func (l *Link) Acked() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked
}

// Recovered says that events up to seq were committed by somebody else, while
// the executor has no channel.
func (l *Link) Recovered(seq int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked, l.received = max(l.acked, seq), max(l.received, seq)
	l.notify()
}

// Finalize ends the link because the backend says that the run is in a final
// state.
func (l *Link) Finalize(status backendv1.RunStatus) {
	l.finish(End{Kind: EndFinal, Status: status})
}
