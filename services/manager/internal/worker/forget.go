package worker

import (
	"time"

	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/retry"
)

// forgetPause is until a workspace that could not be removed is tried again.
const forgetPause = time.Minute

// forget removes what this manager has of a session that is deleted: its export,
// its waiting executor, its workspace. What cannot be removed is tried again.
func (w *Worker) forget(cmd *queuev1.RunCommand) {
	ctx := w.settling
	session := cmd.GetSessionId()
	logger := w.logger.With(logging.KeySessionID, session)
	// The backend has ended the session's runs; this manager may still be about it.
	for r := w.latestOf(session); r != nil; r = w.latestOf(session) {
		select {
		case <-r.released:
		case <-ctx.Done():
			return
		}
	}
	if err := w.opts.Exporter.Supersede(ctx, session); err != nil {
		return // the worker stops
	}
	if executor, waits := w.takeIdle(session); waits {
		if err := w.stopExecutor(ctx, executor.ID, logger); err != nil {
			return // the worker stops, and its next start finds the executor
		}
	}
	for {
		err := w.opts.Workspaces.Remove(cmd.GetUserId(), session)
		if err == nil {
			break
		}
		logger.Warn("workspace of a deleted session stays for now", logging.KeyError, err)
		if !retry.Pause(ctx, forgetPause) {
			return // the command comes again after the restart
		}
	}
	logger.Info("workspace of a deleted session removed")
	w.ack(cmd.GetId())
}

// latestOf returns the held run of a session that came last, or nil.
func (w *Worker) latestOf(sessionID string) *heldRun {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.latest[sessionID]
}
