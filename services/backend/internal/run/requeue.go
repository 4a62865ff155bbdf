package run

import (
	"context"
	"fmt"

	"github.com/poco-ai/poco/db/dbtype"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/backend/internal/userinput"
)

// Release puts a run back into the queue that no executor was given: as it was
// before its claim, so that it counts as no attempt. A cancel that was committed
// before ends it.
func Release(ctx context.Context, s *store.Session, r *store.Run) error {
	if r.Status == dbtype.RunCanceling {
		r.FencingToken++
		return Finish(ctx, s, r, Outcome{Status: dbtype.RunCanceled, Reason: backendv1.RunReason_RUN_REASON_CANCELED})
	}
	if r.OfferedAttempt == r.Attempt {
		r.OfferedAttempt, r.StartedAt = 0, nil
		others, err := s.Tx().Q.RunOtherStarted(ctx, s.ID, r.ID)
		if err != nil {
			return fmt.Errorf("look for other runs: %w", err)
		}
		if !others {
			s.WorkerID = nil // there is nothing in its workspace
		}
	}
	r.Attempt--
	return Requeue(ctx, s, r)
}

// Requeue puts an active run back into the queue under a token that makes its
// former worker's stale.
func Requeue(ctx context.Context, s *store.Session, r *store.Run) error {
	r.Status, r.StatusReason, r.StatusMessage = dbtype.RunQueued, "", ""
	r.WorkerID, r.LeaseExpiresAt = nil, nil
	r.FencingToken++
	if err := userinput.CancelOpen(ctx, s, r.ID); err != nil {
		return err
	}
	s.ActiveRunID = nil
	s.QueuedRuns++
	s.Status = dbtype.SessionPending
	s.Tx().NotifyQueue()
	return s.Emit(r.ID, statusChanged(r))
}
