package run

import (
	"context"
	"fmt"

	"github.com/poco-ai/poco/db/dbgen"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/backend/internal/userinput"
)

// maxMessage bounds, in characters, what a run says about its end: every list of
// runs shows it. The event has the whole of it.
const maxMessage = 10_000

// Every function here works on a locked session and a locked run of it, in one
// transaction.

// Enqueued records a run that was inserted into the queue.
func Enqueued(ctx context.Context, s *store.Session, r *dbgen.Run) error {
	s.QueuedRuns++
	s.LatestRunID = &r.ID
	if s.ActiveRunID == nil {
		s.Status = store.SessionPending
		if err := clearState(ctx, s); err != nil {
			return err
		}
	}
	s.Changed()
	s.Tx().NotifyQueue()
	return s.Emit(r.ID, statusChanged(r))
}

// Claimed records that a worker took a run. The row is already updated.
func Claimed(s *store.Session, r *dbgen.Run) error {
	s.QueuedRuns--
	s.ActiveRunID = &r.ID
	s.Changed()
	return s.Emit(r.ID, statusChanged(r))
}

// Start marks a claimed run as running. From here on the agent may have seen
// the prompt (that it has is proven by AgentStarted), and the session's workspace is on the disk of the run's worker.
func Start(ctx context.Context, s *store.Session, r *dbgen.Run) error {
	now := store.Now()
	r.Status, r.StatusReason, r.StatusMessage = store.RunRunning, "", ""
	if r.StartedAt == nil {
		r.StartedAt = &now
	}
	if r.OfferedAttempt == 0 {
		if err := clearState(ctx, s); err != nil {
			return err
		}
		r.OfferedAttempt = r.Attempt
	}
	s.Status = store.SessionRunning
	moved := s.WorkerID != nil && r.WorkerID != nil && *s.WorkerID != *r.WorkerID
	s.WorkerID = r.WorkerID
	s.Changed()
	if err := s.Tx().SaveRun(ctx, r); err != nil {
		return err
	}
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

// Outcome is how a run ends.
type Outcome struct {
	// Status is completed, failed or canceled.
	Status string
	Reason backendv1.RunReason
	// Message is for people.
	Message string
	// NoExport says that the worker is gone, and the workspace with it.
	NoExport bool
}

// Effective is the outcome that counts: a cancel that was committed before wins.
func (o Outcome) Effective(r *dbgen.Run) Outcome {
	if r.Status == store.RunCanceling {
		o.Status, o.Reason = store.RunCanceled, backendv1.RunReason_RUN_REASON_CANCELED
		if r.CancelMessage != "" || o.Message == "" {
			o.Message = r.CancelMessage
		}
	}
	return o
}

// Finish ends a run, with all that hangs on it: open questions and commands are
// dropped, the session is free for its next run, and its workspace is due for
// export.
func Finish(ctx context.Context, s *store.Session, r *dbgen.Run, outcome Outcome) error {
	outcome = outcome.Effective(r)
	outcome.Message = store.Cut(outcome.Message, maxMessage)
	tx := s.Tx()
	now := store.Now()
	wasQueued := r.Status == store.RunQueued
	r.Status, r.StatusReason, r.StatusMessage, r.FinishedAt, r.LeaseExpiresAt = outcome.Status, store.RunReasonText(outcome.Reason), outcome.Message, &now, nil
	if outcome.Status == store.RunCompleted {
		r.Progress = 100
	}
	if err := tx.SaveRun(ctx, r); err != nil {
		return err
	}
	if err := tx.Later.RunInputDelete(ctx, r.ID); err != nil {
		return fmt.Errorf("drop the run's input: %w", err)
	}
	if wasQueued {
		s.QueuedRuns--
	} else {
		if err := userinput.CancelOpen(ctx, s, r.ID); err != nil {
			return err
		}
		if err := tx.Later.RunCommandDeleteOfRun(ctx, &r.ID); err != nil {
			return fmt.Errorf("drop commands: %w", err)
		}
	}
	if err := s.Emit(r.ID, statusChanged(r)); err != nil {
		return err
	}
	release(s, r, outcome)
	s.Changed()
	if wasQueued {
		return nil
	}
	return requestExport(ctx, s, r, outcome.NoExport)
}

// release frees the session and sums it up.
func release(s *store.Session, r *dbgen.Run, outcome Outcome) {
	if s.ActiveRunID != nil && *s.ActiveRunID == r.ID {
		s.ActiveRunID = nil
	}
	if s.ActiveRunID != nil {
		return // a queued run ended while another goes on
	}
	s.Status = outcome.Status
	if s.QueuedRuns > 0 {
		s.Status = store.SessionPending
		s.Tx().NotifyQueue()
	}
}

// requestExport asks for the workspace's export after a run that may have
// changed it. A run that never started changed nothing, but an export that its
// claim superseded is still pending.
func requestExport(ctx context.Context, s *store.Session, r *dbgen.Run, noExport bool) error {
	if s.DeletedAt != nil || r.StartedAt == nil && s.ExportStatus != store.ExportPending {
		return nil
	}
	s.ExportRunID, s.ExportReason = &r.ID, ""
	if noExport {
		return FailExport(ctx, s, "The executor manager that has the workspace is gone. Export again when it is back.")
	}
	s.ExportStatus = store.ExportPending
	return s.Emit(r.ID, ExportChanged(s))
}

// FailExport ends the session's export, and what was asked of a worker for it.
func FailExport(ctx context.Context, s *store.Session, reason string) error {
	s.ExportStatus, s.ExportReason = store.ExportFailed, reason
	s.Changed()
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

// Release puts a run back into the queue that no executor was given: as it was
// before its claim, so that it counts as no attempt. A cancel that was committed
// before ends it.
func Release(ctx context.Context, s *store.Session, r *dbgen.Run) error {
	if r.Status == store.RunCanceling {
		r.FencingToken++
		return Finish(ctx, s, r, Outcome{Status: store.RunCanceled, Reason: backendv1.RunReason_RUN_REASON_CANCELED})
	}
	if r.OfferedAttempt == r.Attempt {
		r.OfferedAttempt, r.StartedAt = 0, nil
		others, err := s.Tx().Q.RunOtherStarted(ctx, s.ID, r.ID)
		if err != nil {
			return fmt.Errorf("look for other runs: %w", err)
		}
		if !others {
			s.WorkerID = nil // there is nothing in its workspace
		}
	}
	r.Attempt--
	return Requeue(ctx, s, r)
}

// Requeue puts an active run back into the queue under a token that makes its
// former worker's stale.
func Requeue(ctx context.Context, s *store.Session, r *dbgen.Run) error {
	r.Status, r.StatusReason, r.StatusMessage = store.RunQueued, "", ""
	r.WorkerID, r.LeaseExpiresAt = nil, nil
	r.FencingToken++
	if err := s.Tx().SaveRun(ctx, r); err != nil {
		return err
	}
	if err := userinput.CancelOpen(ctx, s, r.ID); err != nil {
		return err
	}
	if err := s.Tx().Later.RunCommandDeleteOfRun(ctx, &r.ID); err != nil {
		return fmt.Errorf("drop commands: %w", err)
	}
	s.ActiveRunID = nil
	s.QueuedRuns++
	s.Status = store.SessionPending
	s.Changed()
	s.Tx().NotifyQueue()
	return s.Emit(r.ID, statusChanged(r))
}
