package worker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/poco-ai/poco/services/internal/pace"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/internal/logging"
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
	resp, err := retry(ctx, func(ctx context.Context) (*queuev1.AdoptRunsResponse, error) {
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

	w.opts.Hub.Open()
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
	for _, e := range living {
		runID := runOf(e, byRun)
		claim := byRun[runID]
		_, twice := executors[runID]
		switch {
		case claim != nil && !twice && claim.GetRun().GetStatus() != backendv1.RunStatus_RUN_STATUS_CLAIMED:
			executors[runID] = e
		case claim == nil && e.Alive && e.Mode == runtime.ModePersistent && w.parkedFor(e.SessionID) == nil:
			w.park(e, w.logger.With(logging.KeySessionID, e.SessionID)) // lives until the worker stops
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

// runOf tells which adopted run an executor works for. A persistent one may
// have gone on to another than it was launched for.
func runOf(e runtime.Executor, byRun map[string]*queuev1.ClaimedRun) string {
	if byRun[e.RunID] != nil || e.Mode != runtime.ModePersistent {
		return e.RunID
	}
	for id, claim := range byRun {
		if claim.GetRun().GetSessionId() == e.SessionID && claim.GetRun().GetStatus() != backendv1.RunStatus_RUN_STATUS_CLAIMED {
			return id
		}
	}
	return e.RunID
}

func (w *Worker) parkedFor(sessionID string) *parked {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.parked[sessionID]
}

// removeOrphans stops executors that work for no held run.
func (w *Worker) removeOrphans(orphans []runtime.Executor) {
	var stopping sync.WaitGroup
	for _, e := range orphans {
		stopping.Go(func() {
			logger := logging.OfRun(w.logger, e.RunID, e.SessionID)
			logger.Info("removing an executor of no held run", logging.KeyExecutorID, e.ID)
			w.stopExecutor(w.settling, e.ID, logger)
		})
	}
	stopping.Wait()
}

// resume makes sure that an adopted executor has its run: the earlier process
// may have died after telling the backend and before telling the executor.
func (r *heldRun) resume(ctx context.Context) (ending, bool) {
	if r.executor.ID == "" {
		return failed(reasonExecutorLost, "The executor was gone when the manager started again."), false
	}
	if !r.executor.Alive {
		return ending{}, true // watch tells how it ended
	}
	status, err := r.executorStatus(ctx)
	if err != nil {
		r.logger.Warn("adopted executor does not answer, watching it", logging.KeyError, err)
		return ending{}, true
	}
	if status.GetRunId() == r.id || status.GetLastRunSeq() >= r.claim.GetNextRunSeq() {
		return ending{}, true
	}
	// It never got the run: nobody has given the agent the prompt yet.
	// A later attempt may follow one that did.
	fresh := status.GetRunId() == "" && status.GetLastRunSeq() == 0 && r.claim.GetRun().GetAttempt() <= 1
	mcpConfig, err := r.resolveConfig(ctx)
	if err != nil {
		return failed(reasonConfigError, "The run's configuration could not be resolved: %v", err), false
	}
	starting, cancel := context.WithTimeout(context.WithoutCancel(ctx), startRunTimeout)
	defer cancel()
	if err := r.handOver(starting, mcpConfig, r.claim.GetPromptSubmitted() && !fresh); err != nil {
		return failed(reasonExecutorLost, "The adopted executor did not accept the run: %v", err), false
	}
	return ending{}, true
}

func (r *heldRun) executorStatus(ctx context.Context) (*executorv1.GetStatusResponse, error) {
	client, closeClient, err := r.dial()
	if err != nil {
		return nil, err
	}
	defer closeClient()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return client.GetStatus(ctx, &executorv1.GetStatusRequest{})
}

// listExecutors asks the runtime until it answers; an engine may start later
// than the manager.
func (w *Worker) listExecutors(ctx context.Context) ([]runtime.Executor, error) {
	wait := newBackOff()
	for {
		v, err := w.opts.Runtime.List(ctx)
		if err == nil || ctx.Err() != nil {
			return v, err
		}
		w.logger.Warn("runtime cannot list its executors, trying again", logging.KeyError, err)
		if !pace.Pause(ctx, wait.NextBackOff()) {
			return v, err
		}
	}
}
