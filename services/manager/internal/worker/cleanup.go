package worker

import (
	"context"
	"errors"
	"time"

	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/retry"
	"github.com/poco-ai/poco/services/manager/internal/workspace"
)

// cleanupPage is how many workspaces are looked at in one go.
const cleanupPage = 100

// cleanUpLoop removes old workspaces from the disk, now and every interval.
func (w *Worker) cleanUpLoop(ctx context.Context) {
	cfg := w.opts.Cleanup
	for {
		if err := w.CleanUp(ctx); err != nil && ctx.Err() == nil {
			w.logger.Warn("workspaces were not cleaned up, or not all", logging.KeyError, err)
		}
		if !retry.Pause(ctx, cfg.GetCleanupInterval().AsDuration()) {
			return
		}
	}
}

// CleanUp removes the workspaces from the disk that are old now, and what is
// archived for longer than it is kept.
func (w *Worker) CleanUp(ctx context.Context) error {
	due, err := w.pendingExports(ctx)
	if err != nil {
		return err
	}
	pending := make(map[string]bool, len(due))
	for _, e := range due {
		pending[e.GetSessionId()] = true
	}
	since := time.Now().Add(-w.opts.Cleanup.GetMaxAge().AsDuration())
	after := ""
	for ctx.Err() == nil {
		page, err := w.opts.Workspaces.List(after, cleanupPage)
		if err != nil {
			return err
		}
		for _, found := range page {
			after = found.UserPath + "/" + found.SessionID
			if found.LastUsed.Before(since) && !pending[found.SessionID] {
				w.retire(found, since)
			}
		}
		if len(page) < cleanupPage {
			break
		}
	}
	return w.opts.Workspaces.EmptyArchive(ctx, time.Now().Add(-w.opts.Cleanup.GetArchiveKeep().AsDuration()))
}

// retire takes a workspace out of use under the lock that runs are taken in
// under: a run that comes before keeps it, one that comes after restores it.
func (w *Worker) retire(found workspace.Listed, since time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.latest[found.SessionID] != nil || w.idle[found.SessionID] != nil || w.opts.Exporter.Running(found.SessionID) {
		return
	}
	logger := w.logger.With(logging.KeySessionID, found.SessionID)
	err := w.opts.Workspaces.Retire(found.UserPath, found.SessionID, since, w.opts.Cleanup.GetArchiveEnabled())
	switch {
	case err == nil:
		w.metrics.removed.Inc()
		logger.Info("old workspace removed", "last_used", found.LastUsed, "archived", w.opts.Cleanup.GetArchiveEnabled())
	case !errors.Is(err, workspace.ErrInUse):
		logger.Warn("old workspace stays", logging.KeyError, err)
	}
}
