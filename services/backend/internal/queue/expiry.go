package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/poco-ai/poco/db/dbgen"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/backend/internal/run"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/internal/logging"
)

const (
	// expiryBatch bounds one look for expired leases.
	expiryBatch = 100
	// returnGrace is what managers need to find a backend that was away: their
	// longest pause before they connect again, and a call. Shorter leases are not
	// acted on before it either.
	returnGrace = 5 * time.Second
	// greetGrace is the same for managers that hold nothing, and so have less to
	// call for.
	greetGrace = 15 * time.Second
	// maxResumes is how often a run goes on after its executor was lost.
	maxResumes = 1
)

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
func judge(r *dbgen.Run, policy backendv1.LostExecutorPolicy, agentSessionID string) verdict {
	switch {
	case r.Status == store.RunCanceling:
		return verdictCanceled
	case !r.PromptSubmitted:
		// Anyone who has the workspace finds out whether the agent took the prompt.
		return verdictRequeue
	case r.Status == store.RunClaimed:
		// It was to resume; the worker that claimed it never began.
		return verdictRequeue
	case policy == backendv1.LostExecutorPolicy_LOST_EXECUTOR_POLICY_RESUME && r.Resumes < maxResumes && agentSessionID != "":
		return verdictRequeue
	default:
		return verdictLost
	}
}

// mayExpire tells whether the holder of a lease of this length had the time to
// renew it with this backend. Another backend that was there all along does not
// wait for this one.
func (q *Queue) mayExpire(lease time.Duration) bool {
	return q.here.For() >= max(lease, returnGrace)
}

// mayJudgeWorkers tells whether a worker that was not heard of for
// Timing.WorkerGone is gone, and not only has not found this backend yet.
func (q *Queue) mayJudgeWorkers() bool {
	return q.here.For() >= min(q.timing.WorkerGone, greetGrace)
}

// ExpireLeases acts on every lease that has run out although it could have been
// renewed. One that cannot be acted on holds up no other.
func (q *Queue) ExpireLeases(ctx context.Context) error {
	if !q.mayExpire(0) {
		return nil
	}
	expired, err := q.store.Read().RunListExpired(ctx, q.here.For(), expiryBatch)
	if err != nil {
		return fmt.Errorf("list expired leases: %w", err)
	}
	var errs []error
	for _, e := range expired {
		if err := q.expire(ctx, e.SessionID, e.ID); err != nil {
			errs = append(errs, fmt.Errorf("expire the lease of run %s: %w", e.ID, err))
		}
	}
	return errors.Join(errs...)
}

func (q *Queue) expire(ctx context.Context, sessionID, runID string) error {
	return q.store.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		s, err := tx.LockSession(ctx, sessionID)
		if err != nil {
			return err
		}
		r, leaseValid, err := tx.LockRun(ctx, runID)
		if err != nil {
			return err
		}
		// Renewed or ended in between; or the database was away in between.
		if leaseValid || !run.IsActive(r.Status) || !q.mayExpire(r.LeaseDuration) {
			return nil
		}
		asked, err := inputs(ctx, tx, r.ID)
		if err != nil {
			return err
		}
		decision := judge(r, asked[r.ID].config.GetLostExecutorPolicy(), s.AgentSessionID)
		logging.OfRun(q.logger, r.ID, s.ID).WarnContext(ctx, "lease ran out", "status", r.Status, "verdict", int(decision))
		switch decision {
		case verdictRequeue:
			if r.PromptSubmitted && r.Status == store.RunRunning {
				return goOn(ctx, s, r, notHeardOf(r))
			}
			return run.Requeue(ctx, s, r)
		case verdictCanceled:
			r.FencingToken++
			return run.Finish(ctx, s, r, run.Outcome{Status: store.RunCanceled, Reason: backendv1.RunReason_RUN_REASON_CANCELED, NoExport: true})
		default:
			r.FencingToken++
			return run.Finish(ctx, s, r, run.Outcome{
				Status: store.RunFailed, Reason: backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, NoExport: true,
				Message: notHeardOf(r) + " Send the prompt again to go on.",
			})
		}
	})
}

func notHeardOf(r *dbgen.Run) string {
	return fmt.Sprintf("The executor manager that had the run was not heard of for %s, so its executor was given up.", r.LeaseDuration)
}
