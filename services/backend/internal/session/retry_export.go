package session

import (
	"context"

	"github.com/poco-ai/poco/db/dbtype"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/backend/internal/run"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// RetryExport asks the worker that has the workspace to export it again.
func (s *Service) RetryExport(ctx context.Context, req *backendv1.RetryExportRequest) (*backendv1.RetryExportResponse, error) {
	session, err := s.change(ctx, req.GetSessionId(), func(ctx context.Context, row *store.Session) error {
		switch {
		case row.ActiveRunID != nil || row.ExportStatus == dbtype.ExportPending:
			return rpcerror.FailedPrecondition(backendv1.ErrorReason_ERROR_REASON_EXPORT_PENDING, "an export is under way, or follows the run that is active", nil)
		case row.ExportStatus == "" || row.ExportRunID == nil || row.WorkerID == nil:
			return rpcerror.FailedPrecondition(backendv1.ErrorReason_ERROR_REASON_EXPORT_NOT_READY, "no run of the session has ended yet", nil)
		}
		row.ExportStatus, row.ExportReason = dbtype.ExportPending, ""
		err := row.Command(ctx, row.WorkerID, *row.ExportRunID, dbtype.CommandExport, &queuev1.RunCommand{Kind: &queuev1.RunCommand_Export{Export: &queuev1.ExportCommand{}}})
		if err != nil {
			return err
		}
		return row.Emit(*row.ExportRunID, run.ExportChanged(row))
	})
	if err != nil {
		return nil, err
	}
	return &backendv1.RetryExportResponse{Session: session}, nil
}
