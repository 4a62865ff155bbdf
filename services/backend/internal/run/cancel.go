package run

import (
	"context"

	"github.com/poco-ai/poco/db/dbtype"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/backend/internal/store"
)

// Cancel ends a queued run, or tells the worker of an active one to stop it. It
// reports whether anything changed.
func Cancel(ctx context.Context, s *store.Session, r *store.Run, message string) (bool, error) {
	switch r.Status {
	case dbtype.RunQueued:
		return true, Finish(ctx, s, r, Outcome{Status: dbtype.RunCanceled, Reason: backendv1.RunReason_RUN_REASON_CANCELED, Message: message})
	case dbtype.RunClaimed, dbtype.RunRunning:
	default:
		return false, nil
	}
	r.Status, r.StatusReason, r.StatusMessage, r.CancelMessage = dbtype.RunCanceling, store.RunReasonText(backendv1.RunReason_RUN_REASON_CANCELED), message, message
	err := s.Command(ctx, r.WorkerID, r.ID, dbtype.CommandCancel, &queuev1.RunCommand{
		Kind: &queuev1.RunCommand_Cancel{Cancel: &queuev1.CancelCommand{Reason: message}},
	})
	if err != nil {
		return false, err
	}
	return true, s.Emit(r.ID, statusChanged(r))
}
