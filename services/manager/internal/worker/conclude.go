package worker

import (
	"context"

	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/manager/internal/runchannel"
	"github.com/poco-ai/poco/services/manager/internal/runtime"
)

// conclude brings a run to its end: the backend knows it, the executor is
// gone, and the export is asked for. Only then is the slot free.
func (r *heldRun) conclude(end outcome) {
	ctx := logging.WithRun(r.w.settling, r.id, r.sessionID)
	r.mu.Lock()
	if r.cancelTimer != nil {
		r.cancelTimer.Stop()
	}
	r.mu.Unlock()
	r.w.metrics.ended.WithLabelValues(string(end.kind)).Inc()
	switch end.kind {
	case outcomeFinal:
		r.logger.Info("run ended", "status", end.status.String())
	case outcomeFailed:
		r.logger.Warn("run failed", "status", end.status.String(), "reason", end.reason.String(), "message", end.message)
		// Nothing of the executor's may come after this.
		r.finishing.Store(true)
		r.link.Revoke(end.reason.String())
		r.exports = r.finish(ctx, end) && r.exports
		r.finishing.Store(false)
	case outcomeLost:
		r.logger.Warn("run lost, its executor is stopped", "cause", end.message)
		r.link.Revoke(end.message)
		r.exports = false
	case outcomeLeft:
		r.w.opts.Channels.Shut()
		r.exports = false
		if r.handedOver {
			r.logger.Info("run left to the next start of the manager")
			return
		}
	}
	defer r.noteEnd()
	if r.executor != nil && r.executor.ID != "" {
		if end.kind == outcomeFinal && r.mode() == runtime.ModePersistent && r.w.awaitIdle(ctx, *r.executor) {
			r.w.keepIdle(*r.executor, r.logger)
			return
		}
		if r.w.stopExecutor(ctx, r.executor.ID, r.logger) != nil {
			return // it has told
		}
	}
	if end.kind == outcomeLeft {
		r.giveBack(ctx)
		return
	}
	r.w.recoverEnded(ctx, r.userID, r.sessionID, r, r.logger)
}

// giveBack puts a run that no executor was given back into the queue. When that
// fails, the next start takes it up, or its lease runs out.
func (r *heldRun) giveBack(ctx context.Context) {
	_, err := callUntilAnswered(ctx, func(ctx context.Context) (*queuev1.ReleaseRunsResponse, error) {
		return r.w.opts.Queue.ReleaseRuns(ctx, &queuev1.ReleaseRunsRequest{
			WorkerId: r.w.opts.Identity.WorkerID,
			Leases:   []*queuev1.Lease{{RunId: r.id, FencingToken: r.claim.GetFencingToken()}},
		})
	})
	if err != nil {
		r.logger.Warn("run cannot be given back, it waits for the next start or for the end of its lease", logging.KeyError, err)
		return
	}
	r.logger.Info("run given back")
}

// noteEnd counts the workspace's age from here. A run that came to no workspace
// has none to note.
func (r *heldRun) noteEnd() {
	if !r.w.opts.Workspaces.Has(r.userID, r.sessionID) {
		return
	}
	if err := r.w.opts.Workspaces.Ended(r.userID, r.sessionID); err != nil {
		r.logger.Warn("end of the run cannot be noted in its workspace", logging.KeyError, err)
	}
}

// finish tells the backend how the run ended, until it has heard it or says
// that the run is not ours. False when the run goes on, here or elsewhere: its
// workspace is exported after it.
func (r *heldRun) finish(ctx context.Context, end outcome) bool {
	resp, err := callUntilAnswered(ctx, func(ctx context.Context) (*queuev1.FinishRunResponse, error) {
		return r.w.opts.Queue.FinishRun(ctx, &queuev1.FinishRunRequest{
			RunId: r.id, FencingToken: r.claim.GetFencingToken(), Status: end.status, Reason: end.reason, Message: clip(end.message),
		})
	})
	switch {
	case notOurs(err):
		r.logger.Warn("run lost before its end could be reported", logging.KeyError, err)
		return false
	case err != nil:
		r.logger.Error("end of the run could not be reported", logging.KeyError, err)
		return true
	case !runchannel.Final(resp.GetRun().GetStatus()):
		r.logger.Info("run goes on with another executor")
		return false
	default:
		return true
	}
}
