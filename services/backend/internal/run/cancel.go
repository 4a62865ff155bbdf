package run

import (
	"context"

	"github.com/poco-ai/poco/db/dbgen"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/backend/internal/store"
)

// Cancel ends a queued run, or tells the worker of an active one to stop it. It
// reports whether anything changed.
func Cancel(ctx context.Context, s *store.Session, r *dbgen.Run, message string) (bool, error) {
	switch r.Status {
	case store.RunQueued:
		return true, Finish(ctx, s, r, Outcome{Status: store.RunCanceled, Reason: backendv1.RunReason_RUN_REASON_CANCELED, Message: message})
	case store.RunClaimed, store.RunRunning:
	default:
		return false, nil
	}
	r.Status, r.StatusReason, r.StatusMessage, r.CancelMessage = store.RunCanceling, store.RunReasonText(backendv1.RunReason_RUN_REASON_CANCELED), message, message
	if err := s.Tx().SaveRun(ctx, r); err != nil {
		return false, err
	}
	s.Changed()
	err := s.Command(ctx, r.WorkerID, r.ID, store.CommandCancel, &queuev1.RunCommand{
		Kind: &queuev1.RunCommand_Cancel{Cancel: &queuev1.CancelCommand{Reason: message}},
	})
	if err != nil {
		return false, err
	}
	return true, s.Emit(r.ID, statusChanged(r))
}
