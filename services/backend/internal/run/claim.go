package run

import (
	"github.com/poco-ai/poco/services/backend/internal/store"
)

// Claim gives a run to the worker that its row, already updated, names.
func Claim(s *store.Session, r *store.Run) error {
	s.QueuedRuns--
	s.ActiveRunID = &r.ID
	return s.Emit(r.ID, statusChanged(r))
}
