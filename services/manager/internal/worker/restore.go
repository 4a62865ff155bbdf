package worker

import (
	"context"
	"errors"
	"time"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/manager/internal/workspace"
)

// restoreTimeout bounds fetching a snapshot.
const restoreTimeout = 30 * time.Minute

// restore makes sure that the workspace on this disk is the session's: when
// another manager had it last, or it was removed from here, it comes from the
// snapshot.
//
// A session that cannot go on fails with what a person can do. To begin a new
// conversation in its place would look like one that goes on and has forgotten
// everything.
func (r *heldRun) restore(ctx context.Context) (outcome, bool) {
	owner, here := r.claim.GetWorkspaceWorkerId(), r.w.opts.Workspaces.Has(r.userID, r.sessionID)
	mine := owner == r.w.opts.Identity.WorkerID
	switch {
	case owner == "" || mine && here:
		return outcome{}, true
	case r.claim.GetPromptSubmitted() || r.claim.GetPromptOffered():
		return failed(backendv1.RunReason_RUN_REASON_WORKSPACE_ERROR,
			"The run had started in a workspace that is gone with its executor manager, and no snapshot shows what it did. Send the prompt again to go on from the run before."), false
	case r.claim.GetSnapshotKey() == "" && mine:
		return failed(backendv1.RunReason_RUN_REASON_WORKSPACE_ERROR,
			"The session's workspace is no longer on its executor manager's disk, and there is no snapshot of it. Begin a new session."), false
	case r.claim.GetSnapshotKey() == "":
		return failed(backendv1.RunReason_RUN_REASON_WORKSPACE_ERROR,
			"The session's workspace is on the executor manager %q, which is gone, and there is no snapshot of it. Start that manager again, or begin a new session.", owner), false
	}
	// What waits for the session has its old workspace mounted.
	if e, ok := r.w.takeIdle(r.sessionID); ok {
		if err := r.w.stopExecutor(ctx, e.ID, r.logger); err != nil {
			return outcome{}, false // the worker stops
		}
	}
	begun := r.w.now()
	fetching, cancel := context.WithTimeout(ctx, restoreTimeout)
	defer cancel()
	err := r.w.opts.Workspaces.Restore(fetching, r.userID, r.sessionID, r.claim.GetSnapshotKey())
	switch {
	case ctx.Err() != nil:
		return outcome{}, false
	case errors.Is(err, workspace.ErrNoSnapshot):
		return failed(backendv1.RunReason_RUN_REASON_WORKSPACE_ERROR,
			"The session's workspace was removed, and its snapshot is not kept any more (WORKSPACE_ARCHIVE_DAYS, WORKSPACE_ARCHIVE_ENABLED). Begin a new session."), false
	case err != nil:
		return failed(backendv1.RunReason_RUN_REASON_WORKSPACE_ERROR, "The session's workspace could not be restored from its snapshot: %v", err), false
	}
	r.w.metrics.restored.Inc()
	r.logger.Info("workspace restored from its snapshot", "from_worker", owner, "duration", r.w.now().Sub(begun))
	return outcome{}, true
}
