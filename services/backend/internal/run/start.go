package run

import (
	"context"

	"github.com/poco-ai/poco/db/dbtype"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/backend/internal/store"
)

// Start marks a claimed run as running. From here on the agent may have seen
// the prompt (that it has is proven by AgentStarted), and the session's workspace is on the disk of the run's worker.
func Start(ctx context.Context, s *store.Session, r *store.Run) error {
	now := store.Now()
	r.Status, r.StatusReason, r.StatusMessage = dbtype.RunRunning, "", ""
	if r.StartedAt == nil {
		r.StartedAt = &now
	}
	if r.OfferedAttempt == 0 {
		if err := clearState(ctx, s); err != nil {
			return err
		}
		r.OfferedAttempt = r.Attempt
	}
	s.Status = dbtype.SessionRunning
	moved := s.WorkerID != nil && r.WorkerID != nil && *s.WorkerID != *r.WorkerID
	s.WorkerID = r.WorkerID
	if err := s.Emit(r.ID, statusChanged(r)); err != nil || !moved {
		return err
	}
	return s.Emit(r.ID, takenOver(s))
}

// takenOver tells people that the workspace is another manager's copy, and
// whether it shows all that was done.
func takenOver(s *store.Session) *backendv1.EventPayload {
	notice := &backendv1.Notice{
		Level: backendv1.Notice_LEVEL_INFO, Code: "workspace_restored",
		Text: "The executor manager that had this session is gone. Another one goes on with a snapshot of the workspace and the conversation.",
	}
	if s.SnapshotRunID == nil || s.ExportRunID == nil || *s.SnapshotRunID != *s.ExportRunID {
		notice.Level, notice.Code = backendv1.Notice_LEVEL_WARNING, "workspace_restored_older"
		notice.Text += " The snapshot is older than the last run: what that run did is lost."
	}
	return &backendv1.EventPayload{Kind: &backendv1.EventPayload_Notice{Notice: notice}}
}

// clearState forgets what the session's previous run showed.
func clearState(ctx context.Context, s *store.Session) error {
	state, err := s.State(ctx)
	if err != nil {
		return err
	}
	state.Todos, state.CurrentStep, state.Files, state.McpServers = nil, "", nil, nil
	return nil
}
