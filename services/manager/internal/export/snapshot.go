package export

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/google/uuid"

	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/objectstore"
	"github.com/poco-ai/poco/services/manager/internal/tree"
	"github.com/poco-ai/poco/services/manager/internal/workspace"
)

// deleteTimeout bounds removing a snapshot.
const deleteTimeout = 10 * time.Second

// snapshot stores a session's workspace and state under a key that nobody used before, so
// that a manager that is late cannot replace what a later one stored. The
// backend decides which snapshot counts. It returns "" when there is none: then
// the one before stays, and the export is as good as without.
func (e *Exporter) snapshot(ctx context.Context, job Job, logger *slog.Logger) string {
	key := objectstore.SnapshotPrefix(job.UserID, job.SessionID) + job.RunID + "-" + uuid.NewString() + ".tar.zst"
	_, err := attempt(ctx, func(ctx context.Context) (struct{}, error) {
		root, err := e.opts.Workspaces.OpenSession(job.UserID, job.SessionID)
		if err != nil {
			return struct{}{}, err
		}
		defer root.Close()
		return struct{}{}, e.stream(ctx, key, "application/zstd", func(ctx context.Context, w io.Writer) error {
			return tree.Pack(ctx, w, root, workspace.SnapshotLimits, workspace.Kept)
		})
	})
	if ctx.Err() != nil {
		return ""
	}
	e.metrics.snapshots.WithLabelValues(outcome(err)).Inc()
	if err != nil {
		logger.Error("snapshot failed, the one before stays: the session cannot go on elsewhere as it is now", logging.KeyError, err)
		return ""
	}
	return key
}

// settleSnapshot removes the snapshot that does not count, after the backend
// has decided, and notes the one that does.
func (e *Exporter) settleSnapshot(ctx context.Context, job Job, key string, resp *queuev1.ReportExportResponse, logger *slog.Logger) {
	unused := resp.GetSupersededSnapshotKey()
	switch {
	case key == "":
		return
	case !resp.GetAccepted():
		unused = key
	default:
		if err := e.opts.Workspaces.Snapshotted(job.UserID, job.SessionID, key); err != nil {
			logger.Warn("workspace will not be cleaned up: its snapshot cannot be noted", logging.KeyError, err)
		}
	}
	if unused == "" {
		return
	}
	// A follow-up run that comes now waits for this: nobody else would remove it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deleteTimeout)
	defer cancel()
	if err := e.opts.Objects.Delete(ctx, unused); err != nil {
		logger.Warn("a snapshot that nothing refers to stays behind", "key", unused, logging.KeyError, err)
	}
}
