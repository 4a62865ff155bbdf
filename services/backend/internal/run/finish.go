package run

import (
	"context"

	"github.com/poco-ai/poco/db/dbtype"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/backend/internal/userinput"
)

// maxMessage bounds, in characters, what a run says about its end: every list of
// runs shows it. The event has the whole of it.
const maxMessage = 10_000

// Outcome is how a run ends.
type Outcome struct {
	// Status is completed, failed or canceled.
	Status dbtype.RunStatus
	Reason backendv1.RunReason
	// Message is for people.
	Message string
	// NoExport says that the worker is gone, and the workspace with it.
	NoExport bool
}

// Effective is the outcome that counts: a cancel that was committed before wins.
func (o Outcome) Effective(r *store.Run) Outcome {
	if r.Status == dbtype.RunCanceling {
		o.Status, o.Reason = dbtype.RunCanceled, backendv1.RunReason_RUN_REASON_CANCELED
		if r.CancelMessage != "" || o.Message == "" {
			o.Message = r.CancelMessage
		}
	}
	return o
}

// Finish ends a run, with all that hangs on it: open questions and commands are
// dropped, the session is free for its next run, and its workspace is due for
// export.
func Finish(ctx context.Context, s *store.Session, r *store.Run, outcome Outcome) error {
	outcome = outcome.Effective(r)
	outcome.Message = store.Cut(outcome.Message, maxMessage)
	now := store.Now()
	wasQueued := r.Status == dbtype.RunQueued
	r.Status, r.StatusReason, r.StatusMessage, r.FinishedAt, r.LeaseExpiresAt = outcome.Status, store.RunReasonText(outcome.Reason), outcome.Message, &now, nil
	if outcome.Status == dbtype.RunCompleted {
		r.Progress = 100
	}
	if wasQueued {
		s.QueuedRuns--
	} else if err := userinput.CancelOpen(ctx, s, r.ID); err != nil {
		return err
	}
	if err := s.Emit(r.ID, statusChanged(r)); err != nil {
		return err
	}
	release(s, r, outcome)
	if wasQueued {
		return nil
	}
	return requestExport(ctx, s, r, outcome.NoExport)
}

// release frees the session and sums it up.
func release(s *store.Session, r *store.Run, outcome Outcome) {
	if s.ActiveRunID != nil && *s.ActiveRunID == r.ID {
		s.ActiveRunID = nil
	}
	if s.ActiveRunID != nil {
		return // a queued run ended while another goes on
	}
	s.Status = dbtype.SessionStatus(outcome.Status)
	if s.QueuedRuns > 0 {
		s.Status = dbtype.SessionPending
		s.Tx().NotifyQueue()
	}
}
