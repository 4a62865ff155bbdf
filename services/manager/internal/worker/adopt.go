package worker

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/status"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/retry"
	"github.com/poco-ai/poco/services/manager/internal/runtime"
)

// adopt takes over what an earlier process of this worker left: runs whose
// executor lives go on, claimed ones start again, runs whose executor is gone
// end, and executors of no run are removed. It waits for the backend.
func (w *Worker) adopt(ctx context.Context) error {
	living, err := w.listExecutors(ctx)
	if err != nil {
		return fmt.Errorf("list executors: %w", err)
	}
	asked, told := w.now(), false
	resp, err := callUntilAnswered(ctx, func(ctx context.Context) (*queuev1.AdoptRunsResponse, error) {
		asked = w.now()
		resp, err := w.opts.Queue.AdoptRuns(ctx, &queuev1.AdoptRunsRequest{WorkerId: w.opts.Identity.WorkerID, LeaseDuration: w.leaseProto()})
		if err != nil && !told {
			told = true
			w.logger.Warn("waiting for the backend at BACKEND_URL", logging.KeyError, err)
		}
		return resp, err
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // stopped before the backend answered, which is no failure
		}
		return fmt.Errorf("adopt runs: %w", err)
	}
	orphans := w.takeOver(ctx, living, resp.GetRuns(), asked)

	w.opts.Channels.Open()
	close(w.adopted)
	w.supervisors.Go(func() { w.removeOrphans(orphans) })
	return nil
}

// takeOver holds the adopted runs and returns the executors that are left over.
func (w *Worker) takeOver(ctx context.Context, living []runtime.Executor, runs []*queuev1.ClaimedRun, asked time.Time) []runtime.Executor {
	byRun := make(map[string]*queuev1.ClaimedRun)
	for _, claim := range runs {
		byRun[claim.GetRun().GetId()] = claim
	}
	executors := make(map[string]runtime.Executor) // by run
	var orphans []runtime.Executor
	found := w.identify(ctx, living, runs)
	for i, f := range found { // who is known to have a run comes before who may have it
		if f.certain {
			executors[f.runID] = living[i]
		}
	}
	for i, f := range found {
		e := living[i]
		_, taken := executors[f.runID]
		switch {
		case f.certain && executors[f.runID].ID == e.ID:
		case f.runID != "" && !taken:
			executors[f.runID] = e
		case f.idle && e.Mode == runtime.ModePersistent && w.idleFor(e.SessionID) == nil && !hasRun(runs, e.SessionID):
			w.keepIdle(e, w.logger.With(logging.KeySessionID, e.SessionID)) // lives until the worker stops
		default:
			orphans = append(orphans, e)
		}
	}
	for id, claim := range byRun {
		e, ok := executors[id]
		switch {
		case claim.GetRun().GetStatus() == backendv1.RunStatus_RUN_STATUS_CLAIMED:
			w.hold(ctx, claim, asked, nil)
		case ok:
			logging.OfRun(w.logger, id, e.SessionID).Info("run adopted", logging.KeyExecutorID, e.ID, "alive", e.Alive)
			w.hold(ctx, claim, asked, &e)
		default:
			logging.OfRun(w.logger, id, claim.GetRun().GetSessionId()).Warn("run has no executor any more")
			w.hold(ctx, claim, asked, &runtime.Executor{SessionID: claim.GetRun().GetSessionId(), RunID: id})
		}
	}
	return orphans
}

// finding is what is known of an executor that was found.
type finding struct {
	// runID is the adopted run that it works for; empty for none.
	runID string
	// certain: it has got that attempt of the run.
	certain bool
	// idle: it works for no run at all.
	idle bool
}

// identify finds out what executors work for. All persistent ones are asked at
// once, so that one that does not answer delays the others little.
func (w *Worker) identify(ctx context.Context, living []runtime.Executor, runs []*queuev1.ClaimedRun) []finding {
	found := make([]finding, len(living))
	var asking sync.WaitGroup
	for i, e := range living {
		asking.Go(func() { found[i] = w.find(ctx, e, runs) })
	}
	asking.Wait()
	return found
}

func (w *Worker) find(ctx context.Context, e runtime.Executor, runs []*queuev1.ClaimedRun) finding {
	if e.Mode != runtime.ModePersistent {
		return certainly(runs, e.RunID, e.Attempt)
	}
	// It may have gone on to other runs than the one it was launched for.
	ofSession := func(r *backendv1.Run) bool { return r.GetSessionId() == e.SessionID }
	if !e.Alive {
		return finding{runID: started(runs, ofSession)}
	}
	status, err := w.statusOf(ctx, e)
	switch {
	case err != nil:
		// Its channel says whose it is: the registry lets no other attempt in.
		w.logger.Warn("executor does not tell what it does", logging.KeyExecutorID, e.ID, logging.KeyError, err)
		return finding{runID: started(runs, ofSession)}
	case status.GetIdle():
		return finding{runID: started(runs, ofSession), idle: true}
	default:
		return certainly(runs, status.GetRunId(), status.GetAttempt())
	}
}

func certainly(runs []*queuev1.ClaimedRun, runID string, attempt int32) finding {
	id := started(runs, func(r *backendv1.Run) bool { return r.GetId() == runID && r.GetAttempt() == attempt })
	return finding{runID: id, certain: id != ""}
}

// started is the adopted run that ok accepts, among those that an executor may
// have got.
func started(runs []*queuev1.ClaimedRun, ok func(*backendv1.Run) bool) string {
	for _, claim := range runs {
		if claim.GetRun().GetStatus() != backendv1.RunStatus_RUN_STATUS_CLAIMED && ok(claim.GetRun()) {
			return claim.GetRun().GetId()
		}
	}
	return ""
}

func hasRun(runs []*queuev1.ClaimedRun, sessionID string) bool {
	return slices.ContainsFunc(runs, func(c *queuev1.ClaimedRun) bool { return c.GetRun().GetSessionId() == sessionID })
}

func (w *Worker) idleFor(sessionID string) *idleExecutor {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.idle[sessionID]
}

// removeOrphans stops executors that work for no held run.
func (w *Worker) removeOrphans(orphans []runtime.Executor) {
	var stopping sync.WaitGroup
	for _, e := range orphans {
		stopping.Go(func() {
			logger := logging.OfRun(w.logger, e.RunID, e.SessionID)
			logger.Info("removing an executor of no held run", logging.KeyExecutorID, e.ID)
			if w.stopExecutor(w.settling, e.ID, logger) == nil { // else the session's next run tries again
				w.recoverEnded(w.settling, e.UserID, e.SessionID, nil, logger)
			}
		})
	}
	stopping.Wait()
}

// resume makes sure that an adopted executor has its run: the earlier process
// may have died after telling the backend and before telling the executor.
func (r *heldRun) resume(ctx context.Context) (outcome, bool) {
	if r.executor.ID == "" {
		if r.recoverGone(ctx) {
			return r.linkEnded(), false
		}
		return failed(backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, "The executor was gone when the manager started again."), false
	}
	if !r.executor.Alive {
		return outcome{}, true // watch tells how it ended
	}
	has, err := r.w.statusOf(ctx, *r.executor)
	if err != nil {
		r.logger.Warn("adopted executor does not answer, watching it", logging.KeyError, err)
		return outcome{}, true
	}
	mine := has.GetRunId() == r.id && has.GetAttempt() == r.attempt().Number
	switch {
	case mine && has.GetIdle():
		return failed(backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, "The executor had given the run up when the manager started again."), false
	case mine:
		return outcome{}, true
	case r.wasBegun():
		// It is another process than the one that had the run.
		return r.executorGone(ctx, runtime.Exit{Code: runtime.CodeUnknown, Note: "it was started again while the manager was away"}), false
	}
	if end, ok := r.recoverBefore(ctx); !ok {
		return end, false
	}
	// It never got the run. It finds out by itself whether another one did.
	r.adopted = false
	environment, err := r.resolveConfig(ctx)
	if err != nil {
		return failed(backendv1.RunReason_RUN_REASON_CONFIG_ERROR, "The run's configuration could not be resolved: %v", err), false
	}
	starting, cancel := context.WithTimeout(context.WithoutCancel(ctx), startRunTimeout)
	defer cancel()
	if err := r.handOver(starting, environment); err != nil {
		return failed(backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, "The adopted executor did not accept the run: %s", status.Convert(err).Message()), false
	}
	return outcome{}, true
}

// listExecutors asks the runtime until it answers; an engine may start later
// than the manager.
func (w *Worker) listExecutors(ctx context.Context) ([]runtime.Executor, error) {
	wait := newBackOff()
	for {
		v, err := w.opts.Runtime.List(ctx, "")
		if err == nil || ctx.Err() != nil {
			return v, err
		}
		w.logger.Warn("runtime cannot list its executors, trying again", logging.KeyError, err)
		if !retry.Pause(ctx, wait.NextBackOff()) {
			return v, err
		}
	}
}
