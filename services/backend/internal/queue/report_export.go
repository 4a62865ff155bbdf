package queue

import (
	"context"
	"fmt"
	"strings"

	"github.com/poco-ai/poco/db/dbtype"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/backend/internal/run"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/internal/objectstore"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// ReportExport notes how an export ended. It changes no run, and nothing at all
// when the export is no longer the session's: then it was not accepted.
func (q *Queue) ReportExport(ctx context.Context, report *queuev1.ReportExportRequest) (*queuev1.ReportExportResponse, error) {
	resp := &queuev1.ReportExportResponse{}
	err := q.store.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		resp.Reset()
		s, err := tx.LockSession(ctx, report.GetSessionId())
		if err != nil && !store.IsNotFound(err) {
			return err
		}
		if err != nil || s.DeletedAt != nil {
			// Not accepted. What was uploaded is known to nobody: sweep once more.
			if err := tx.Q.DeletedSessionSoil(ctx, report.GetSessionId()); err != nil {
				return fmt.Errorf("have the session swept: %w", err)
			}
			return nil
		}
		if s.ExportStatus != dbtype.ExportPending || s.ExportRunID == nil || *s.ExportRunID != report.GetRunId() ||
			s.WorkerID == nil || *s.WorkerID != report.GetWorkerId() {
			return nil
		}
		resp.Accepted = true
		if err := checkKeys(s.UserID, s.ID, report); err != nil {
			return err
		}
		if key := report.GetSnapshotKey(); key != "" {
			if key != s.SnapshotKey {
				resp.SupersededSnapshotKey = s.SnapshotKey
			}
			s.SnapshotKey, s.SnapshotRunID = key, s.ExportRunID
		}
		if report.GetStatus() == backendv1.ExportStatus_EXPORT_STATUS_READY {
			s.ManifestKey, s.ArchiveKey, s.FilesPrefix = report.GetManifestKey(), report.GetArchiveKey(), report.GetFilesPrefix()
		}
		s.ExportStatus, s.ExportReason = store.ExportStatusText(report.GetStatus()), report.GetReason()
		if err := tx.Q.RunCommandDeleteExports(ctx, s.ID); err != nil {
			return fmt.Errorf("drop export commands: %w", err)
		}
		changed := run.ExportChanged(s)
		event := changed.GetExportChanged()
		event.FileCount, event.TotalBytes, event.MissingCount = report.GetFileCount(), report.GetTotalBytes(), report.GetMissingCount()
		return s.Emit(*s.ExportRunID, changed)
	})
	return resp, err
}

// checkKeys refuses object keys outside the session's own prefix.
func checkKeys(userID, sessionID string, report *queuev1.ReportExportRequest) error {
	prefix := objectstore.WorkspacePrefix(userID, sessionID)
	if key := report.GetSnapshotKey(); key != "" && !strings.HasPrefix(key, objectstore.SnapshotPrefix(userID, sessionID)) {
		return rpcerror.InvalidArgument("snapshot_key", "must start with "+objectstore.SnapshotPrefix(userID, sessionID))
	}
	for field, key := range map[string]string{
		"manifest_key": report.GetManifestKey(), "archive_key": report.GetArchiveKey(), "files_prefix": report.GetFilesPrefix(),
	} {
		if key != "" && !strings.HasPrefix(key, prefix) {
			return rpcerror.InvalidArgument(field, "must start with "+prefix)
		}
	}
	return nil
}
