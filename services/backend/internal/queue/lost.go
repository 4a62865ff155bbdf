package queue

import (
	"context"
	"strings"

	"github.com/poco-ai/poco/db/dbgen"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/backend/internal/run"
	"github.com/poco-ai/poco/services/backend/internal/store"
)

// goesOnAfter tells whether a run goes on although its attempt ended for a
// reason: its executor is gone, and its policy says that the next one resumes.
func goesOnAfter(ctx context.Context, s *store.Session, r *dbgen.Run, reason backendv1.RunReason) (bool, error) {
	// Nothing but the limit ends a run that takes its executors down with it.
	if reason != backendv1.RunReason_RUN_REASON_EXECUTOR_LOST && reason != backendv1.RunReason_RUN_REASON_LEASE_LOST || r.Resumes >= maxResumes {
		return false, nil
	}
	asked, err := inputs(ctx, s.Tx(), r.ID)
	if err != nil {
		return false, err
	}
	policy := asked[r.ID].config.GetLostExecutorPolicy()
	return policy == backendv1.LostExecutorPolicy_LOST_EXECUTOR_POLICY_RESUME && judge(r, policy, s.AgentSessionID) == verdictRequeue, nil
}

// goOn queues a run again whose executor was lost, and tells people why.
func goOn(ctx context.Context, s *store.Session, r *dbgen.Run, why string) error {
	r.Resumes++
	notice := &backendv1.Notice{Level: backendv1.Notice_LEVEL_WARNING, Code: store.RunReasonText(backendv1.RunReason_RUN_REASON_EXECUTOR_LOST), Text: strings.TrimSpace(why + "\nThe run goes on with another executor.")}
	if err := s.Emit(r.ID, &backendv1.EventPayload{Kind: &backendv1.EventPayload_Notice{Notice: notice}}); err != nil {
		return err
	}
	return run.Requeue(ctx, s, r)
}
