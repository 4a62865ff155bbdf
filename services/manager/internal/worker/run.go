package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/retry"
	"github.com/poco-ai/poco/services/manager/internal/export"
	"github.com/poco-ai/poco/services/manager/internal/identity"
	"github.com/poco-ai/poco/services/manager/internal/runchannel"
	"github.com/poco-ai/poco/services/manager/internal/runtime"
)

// Limits of a run's supervision.
const (
	// defaultCancelGrace is how long an executor may take to end a canceled run
	// before it is stopped.
	defaultCancelGrace = 30 * time.Second
	// defaultEnginePatience is what an engine, or a proxy before it, needs to start
	// anew.
	defaultEnginePatience = 10 * time.Second
	// connectGrace is how long an executor may take to open its channel.
	connectGrace = 30 * time.Second
	// channelCheck is how often a missing channel is looked for.
	channelCheck = 5 * time.Second
	// lastWords is how long the channel of an executor that is gone may take to
	// break; what it sent before is forwarded.
	lastWords = 5 * time.Second
)

// heldRun is a run from its claim to its end. It goes through these steps, all
// of them in supervise:
//
//	prepare → launch → queue.StartRun → executor.StartRun → watch → conclude
type heldRun struct {
	w         *Worker
	id        string
	sessionID string
	userID    string
	claim     *queuev1.ClaimedRun
	claimedAt time.Time
	link      *runchannel.Link
	logger    *slog.Logger
	// after is the session's run before this one, when it is still held: two
	// never work in one workspace.
	after *heldRun
	// released is closed when the run is let go of.
	released chan struct{}
	// executor is the one that lives for this run; set by adoption or launch.
	executor *runtime.Executor
	// handedOver says that the executor may have the run, adopted that an earlier
	// process of this worker has seen to it.
	handedOver, adopted bool
	// exports says that the workspace is to be exported.
	exports bool
	// finishing says that the backend is still to be told the end, for which the
	// lease is kept although the link is closed.
	finishing atomic.Bool

	mu sync.Mutex
	// interrupt ends the preparation; nil before and after it.
	interrupt context.CancelCauseFunc
	canceled  bool
	// overdue is closed when a canceled run has not ended in time.
	overdue     chan struct{}
	cancelTimer *time.Timer
}

func newHeldRun(w *Worker, claim *queuev1.ClaimedRun, asked time.Time, executor *runtime.Executor) *heldRun {
	run := claim.GetRun()
	r := &heldRun{
		handedOver: executor != nil, adopted: executor != nil, exports: executor != nil,
		w: w, id: run.GetId(), sessionID: run.GetSessionId(), userID: claim.GetUserId(),
		claim: claim, claimedAt: w.now(), executor: executor,
		logger:   logging.OfRun(w.logger, run.GetId(), run.GetSessionId()),
		released: make(chan struct{}), overdue: make(chan struct{}),
	}
	r.link = runchannel.NewLink(runchannel.LinkOptions{
		RunID: r.id, SessionID: r.sessionID, Attempt: r.attempt().Number, FencingToken: claim.GetFencingToken(), AckedSeq: claim.GetNextRunSeq() - 1,
		LeaseDeadline: asked.Add(claim.GetLeaseDuration().AsDuration()),
		Queue:         w.opts.Queue, Now: w.now, Logger: r.logger, CommandDone: w.ack,
	})
	return r
}

// attempt is what the run's tokens are made for.
func (r *heldRun) attempt() identity.Attempt {
	return identity.Attempt{RunID: r.id, Number: r.claim.GetRun().GetAttempt()}
}

func (r *heldRun) exportJob() export.Job {
	return export.Job{SessionID: r.sessionID, RunID: r.id, UserID: r.userID}
}

// outcome is how a run's supervision ends.
type outcome struct {
	kind outcomeKind
	// For outcomeFailed: what the backend is told.
	status  backendv1.RunStatus
	reason  backendv1.RunReason
	message string
}

type outcomeKind string

const (
	outcomeFinal  outcomeKind = "final"  // the backend has the end already
	outcomeFailed outcomeKind = "failed" // the backend has to be told
	outcomeLost   outcomeKind = "lost"   // the run is not ours any more
	outcomeLeft   outcomeKind = "left"   // this manager stops; the next start takes over
)

func failed(reason backendv1.RunReason, format string, args ...any) outcome {
	return outcome{kind: outcomeFailed, status: backendv1.RunStatus_RUN_STATUS_FAILED, reason: reason, message: fmt.Sprintf(format, args...)}
}

func canceled(message string) outcome {
	return outcome{kind: outcomeFailed, status: backendv1.RunStatus_RUN_STATUS_CANCELED, reason: backendv1.RunReason_RUN_REASON_CANCELED, message: message}
}

// supervise sees the run through.
func (r *heldRun) supervise(ctx context.Context) {
	defer r.w.release(r) // what is still to be told to the backend outlives ctx
	ctx = logging.WithRun(ctx, r.id, r.sessionID)
	end := r.execute(ctx)
	r.conclude(end) // likewise
}

func (r *heldRun) execute(ctx context.Context) outcome {
	begin := r.start
	if r.executor != nil {
		begin = r.resume
	}
	if end, ok := begin(ctx); !ok {
		return end
	}
	return r.watch(ctx)
}

// Causes that end a preparation.
var (
	errCanceled = errors.New("the run was canceled")
	errReleased = errors.New("the run is no longer held")
)

// watch waits for the end of a started run.
func (r *heldRun) watch(ctx context.Context) outcome {
	watching, stop := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	defer watcher.Wait()
	defer stop()
	gone := make(chan runtime.Exit, 1)
	watcher.Go(func() { r.watchExecutor(watching, gone) })

	check := time.NewTicker(channelCheck)
	defer check.Stop()
	for {
		select {
		case <-r.link.Done():
			return r.linkEnded()
		case exit := <-gone:
			return r.executorGone(ctx, exit)
		case <-r.overdue:
			return canceled("The executor did not stop in time and was ended.")
		case <-check.C:
			if end, ok := r.channelMissing(); ok {
				return end
			}
		case <-ctx.Done():
			return r.interrupted()
		}
	}
}

// watchExecutor reports that the executor is gone. An engine that does not
// answer is asked again.
func (r *heldRun) watchExecutor(ctx context.Context, gone chan<- runtime.Exit) {
	wait := newBackOff()
	for {
		exit, err := r.w.opts.Runtime.Watch(ctx, r.executor.ID)
		switch {
		case err == nil:
			gone <- exit
			return
		case errors.Is(err, runtime.ErrNotFound):
			gone <- runtime.Exit{Code: runtime.CodeUnknown, Note: "the runtime does not know it any more"}
			return
		case ctx.Err() != nil || errors.Is(err, runtime.ErrClosed):
			return
		}
		r.logger.Warn("executor cannot be watched, trying again", logging.KeyError, err)
		if !retry.Pause(ctx, wait.NextBackOff()) {
			return
		}
	}
}

func (r *heldRun) linkEnded() outcome {
	switch end := r.link.End(); end.Kind {
	case runchannel.EndFinal:
		return outcome{kind: outcomeFinal, status: end.Status}
	case runchannel.EndRefused:
		return failed(backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, "%s", end.Reason)
	default:
		r.w.metrics.lost.Inc()
		return outcome{kind: outcomeLost, message: end.Reason}
	}
}

// executorGone lets what the executor said last reach the backend: the
// terminal event may be among it.
func (r *heldRun) executorGone(ctx context.Context, exit runtime.Exit) outcome {
	closing, cancel := context.WithTimeout(ctx, lastWords)
	r.link.AwaitClosed(closing)
	cancel()
	if !r.link.AwaitFlushed(ctx) {
		return r.interrupted()
	}
	if r.recoverGone(ctx) {
		return r.linkEnded()
	}
	r.mu.Lock()
	wasCanceled := r.canceled
	r.mu.Unlock()
	if wasCanceled {
		return canceled("")
	}
	return failed(backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, "%s", exitMessage(exit))
}

// channelMissing ends a run whose executor cannot be heard. One that was heard
// before stops its agent by itself when its lease runs out.
func (r *heldRun) channelMissing() (outcome, bool) {
	since, connected, missing := r.link.GoneSince()
	connected = connected || r.adopted
	silence := r.w.now().Sub(since)
	switch {
	case !missing:
		return outcome{}, false
	case !connected && silence > connectGrace:
		return failed(backendv1.RunReason_RUN_REASON_EXECUTOR_START_FAILED, "The executor did not open its channel within %v: check that it reaches the manager at CALLBACK_BASE_URL=%s.",
			connectGrace, r.w.opts.CallbackURL), true
	case connected && silence > r.w.lease():
		return failed(backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, "The executor runs but its channel has been broken for %v.", silence.Round(time.Second)), true
	default:
		return outcome{}, false
	}
}

// interrupted is the end of a started run when the manager stops.
func (r *heldRun) interrupted() outcome {
	if r.w.opts.StopExecutors {
		return failed(backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, "Poco was stopped while the run was under way.")
	}
	return outcome{kind: outcomeLeft}
}

// deliver hands the run a command; false when it was done before.
func (r *heldRun) deliver(cmd *queuev1.RunCommand) bool {
	if !r.link.Deliver(cmd) {
		return false
	}
	if cmd.GetCancel() == nil {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.canceled {
		return true
	}
	r.canceled = true
	if r.interrupt != nil {
		r.interrupt(errCanceled)
	}
	r.cancelTimer = time.AfterFunc(r.w.opts.CancelGrace, func() { close(r.overdue) })
	return true
}
