package run

import (
	"context"
	"fmt"
	"strings"

	"github.com/poco-ai/poco/db/dbtype"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/internal/agents"
)

// maxResumes is how often a run goes on after its executor was lost.
const maxResumes = 1

// Resumes tells whether a run goes on although its attempt ended for a
// reason: its executor is gone, and its policy says that the next one resumes.
func Resumes(ctx context.Context, s *store.Session, r *store.Run, reason backendv1.RunReason) (bool, error) {
	// Nothing but the limit ends a run that takes its executors down with it.
	if reason != backendv1.RunReason_RUN_REASON_EXECUTOR_LOST && reason != backendv1.RunReason_RUN_REASON_LEASE_LOST || r.Resumes >= maxResumes {
		return false, nil
	}
	asked, err := Inputs(ctx, s.Tx(), r.ID)
	if err != nil {
		return false, err
	}
	cfg := asked[r.ID].Config
	return cfg.GetLostExecutorPolicy() == backendv1.LostExecutorPolicy_LOST_EXECUTOR_POLICY_RESUME && judge(s, r, cfg) == verdictRequeue, nil
}

// Resume queues a run again whose executor was lost, and tells people why.
func Resume(ctx context.Context, s *store.Session, r *store.Run, why string) error {
	r.Resumes++
	notice := &backendv1.Notice{Level: backendv1.Notice_LEVEL_WARNING, Code: store.RunReasonText(backendv1.RunReason_RUN_REASON_EXECUTOR_LOST), Text: strings.TrimSpace(why + "\nThe run goes on with another executor.")}
	if err := s.Emit(r.ID, &backendv1.EventPayload{Kind: &backendv1.EventPayload_Notice{Notice: notice}}); err != nil {
		return err
	}
	return Requeue(ctx, s, r)
}

// verdict is what becomes of a run whose lease ran out.
type verdict int

const (
	// verdictRequeue: nothing shows that the agent took the prompt, or it may
	// resume.
	verdictRequeue verdict = iota
	// verdictCanceled: a cancel was committed before.
	verdictCanceled
	// verdictLost: the agent had started, and nobody knows how far it came.
	verdictLost
)

// judge decides about a run whose lease ran out.
func judge(s *store.Session, r *store.Run, cfg *backendv1.TaskConfig) verdict {
	switch {
	case r.Status == dbtype.RunCanceling:
		return verdictCanceled
	case !r.PromptSubmitted:
		// Anyone who has the workspace finds out whether the agent took the prompt.
		return verdictRequeue
	case r.Status == dbtype.RunClaimed:
		// It was to resume; the worker that claimed it never began.
		return verdictRequeue
	case cfg.GetLostExecutorPolicy() == backendv1.LostExecutorPolicy_LOST_EXECUTOR_POLICY_RESUME && r.Resumes < maxResumes && s.AgentSessionIds[agents.Of(cfg)] != "":
		return verdictRequeue
	default:
		return verdictLost
	}
}

func notHeardOf(r *store.Run) string {
	return fmt.Sprintf("The executor manager that had the run was not heard of for %s, so its executor was given up.", r.LeaseDuration)
}

// Expire acts on an active run whose lease ran out, by what is known of its
// agent: the run is queued again, resumed, canceled, or lost.
func Expire(ctx context.Context, s *store.Session, r *store.Run, cfg *backendv1.TaskConfig) error {
	switch judge(s, r, cfg) {
	case verdictRequeue:
		if r.PromptSubmitted && r.Status == dbtype.RunRunning {
			return Resume(ctx, s, r, notHeardOf(r))
		}
		return Requeue(ctx, s, r)
	case verdictCanceled:
		r.FencingToken++
		return Finish(ctx, s, r, Outcome{Status: dbtype.RunCanceled, Reason: backendv1.RunReason_RUN_REASON_CANCELED, NoExport: true})
	default:
		r.FencingToken++
		return Finish(ctx, s, r, Outcome{
			Status: dbtype.RunFailed, Reason: backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, NoExport: true,
			Message: notHeardOf(r) + " Send the prompt again to go on.",
		})
	}
}

// EndAttempt ends a run's attempt whose executor cannot say so itself: the run
// resumes with another executor, or ends.
func EndAttempt(ctx context.Context, s *store.Session, r *store.Run, outcome Outcome) error {
	resumes, err := Resumes(ctx, s, r, outcome.Reason)
	switch {
	case err != nil:
		return err
	case resumes:
		return Resume(ctx, s, r, outcome.Message)
	default:
		return Finish(ctx, s, r, outcome)
	}
}
