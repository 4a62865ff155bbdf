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
	"github.com/poco-ai/poco/services/manager/internal/safefs"
	"github.com/poco-ai/poco/services/manager/internal/workspace"
)

// deleteTimeout bounds removing a snapshot.
const deleteTimeout = 10 * time.Second

// snapshot stores a session's workspace and state under a key that nobody used before, so
// that a manager that is late cannot replace what a later one stored. The
// backend decides which snapshot counts. It returns "" when there is none: then
// the one before stays, and the export is as good as without. lacks is what
// could not be read.
func (e *Exporter) snapshot(ctx context.Context, job Job, logger *slog.Logger) (key string, lacks *missing) {
	key = objectstore.SnapshotPrefix(job.UserID, job.SessionID) + job.RunID + "-" + uuid.NewString() + ".tar.zst"
	_, err := attempt(ctx, func(ctx context.Context) (struct{}, error) {
		root, err := e.opts.Workspaces.OpenSession(job.UserID, job.SessionID)
		if err != nil {
			return struct{}{}, err
		}
		defer root.Close()
		lacks = &missing{}
		return struct{}{}, e.stream(ctx, key, "application/zstd", func(ctx context.Context, w io.Writer) error {
			return safefs.Pack(ctx, w, root, workspace.SnapshotLimits, workspace.Kept, lacks.add)
		})
	})
	if ctx.Err() != nil {
		if err == nil { // superseded when all was stored
			e.discard(ctx, key, logger)
		}
		return "", &missing{}
	}
	e.metrics.snapshots.WithLabelValues(outcome(err)).Inc()
	if err != nil {
		logger.Error("snapshot failed, the one before stays: the session cannot go on elsewhere as it is now", logging.KeyError, err)
		return "", &missing{}
	}
	if lacks.content() {
		logger.Warn("the snapshot is not complete", "missing", lacks.count())
	}
	return key, lacks
}

// settleSnapshot removes the snapshot that does not count, after the backend
// has decided, and notes the one that does. A workspace that its snapshot does
// not show whole is never cleaned up.
func (e *Exporter) settleSnapshot(ctx context.Context, job Job, key string, complete bool, resp *queuev1.ReportExportResponse, logger *slog.Logger) {
	unused := resp.GetSupersededSnapshotKey()
	switch {
	case key == "":
		return
	case !resp.GetAccepted():
		unused = key
	default:
		if err := e.opts.Workspaces.Snapshotted(job.UserID, job.SessionID, key, complete); err != nil {
			logger.Warn("workspace will not be cleaned up: its snapshot cannot be noted", logging.KeyError, err)
		}
	}
	if unused != "" {
		e.discard(ctx, unused, logger)
	}
}

// discard removes a snapshot that nothing refers to. A follow-up run that comes
// now waits for it: nobody else would.
func (e *Exporter) discard(ctx context.Context, unused string, logger *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deleteTimeout)
	defer cancel()
	if err := e.opts.Objects.Delete(ctx, unused); err != nil {
		logger.Warn("a snapshot that nothing refers to stays behind", "key", unused, logging.KeyError, err)
	}
}
