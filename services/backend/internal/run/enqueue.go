package run

import (
	"context"

	"github.com/poco-ai/poco/db/dbtype"
	"github.com/poco-ai/poco/services/backend/internal/store"
)

// Enqueue puts a run that was inserted into its session's queue.
func Enqueue(ctx context.Context, s *store.Session, r *store.Run) error {
	s.QueuedRuns++
	s.LatestRunID = &r.ID
	if s.ActiveRunID == nil {
		s.Status = dbtype.SessionPending
		if err := clearState(ctx, s); err != nil {
			return err
		}
	}
	s.Tx().NotifyQueue()
	return s.Emit(r.ID, statusChanged(r))
}
