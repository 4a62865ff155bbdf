package run

import (
	"context"
	"fmt"

	"github.com/poco-ai/poco/db/dbtype"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/backend/internal/store"
)

// requestExport asks for the workspace's export after a run that may have
// changed it. A run that never started changed nothing, but an export that its
// claim superseded is still pending.
func requestExport(ctx context.Context, s *store.Session, r *store.Run, noExport bool) error {
	if s.DeletedAt != nil || r.StartedAt == nil && s.ExportStatus != dbtype.ExportPending {
		return nil
	}
	s.ExportRunID, s.ExportReason = &r.ID, ""
	if noExport {
		return FailExport(ctx, s, "The executor manager that has the workspace is gone. Export again when it is back.")
	}
	s.ExportStatus = dbtype.ExportPending
	return s.Emit(r.ID, ExportChanged(s))
}

// FailExport ends the session's export, and what was asked of a worker for it.
func FailExport(ctx context.Context, s *store.Session, reason string) error {
	s.ExportStatus, s.ExportReason = dbtype.ExportFailed, reason
	if err := s.Tx().Later.RunCommandDeleteExports(ctx, s.ID); err != nil {
		return fmt.Errorf("drop export commands: %w", err)
	}
	runID := ""
	if s.ExportRunID != nil {
		runID = *s.ExportRunID
	}
	return s.Emit(runID, ExportChanged(s))
}

// ExportChanged is the event of a session's export state.
func ExportChanged(s *store.Session) *backendv1.EventPayload {
	return &backendv1.EventPayload{Kind: &backendv1.EventPayload_ExportChanged{ExportChanged: &backendv1.ExportChanged{
		Status: store.ExportStatus(s.ExportStatus), Reason: s.ExportReason,
	}}}
}
