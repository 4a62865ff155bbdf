package store

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/poco-ai/poco/db/dbgen"
	"github.com/poco-ai/poco/db/dbtype"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
)

// Command stores what a worker has to do about a run: the one that holds the
// run, or the one that has the workspace. It is delivered until the worker
// acknowledges it.
func (s *Session) Command(ctx context.Context, worker *string, runID string, kind dbtype.CommandKind, cmd *queuev1.RunCommand) error {
	if worker == nil {
		return fmt.Errorf("session %s has no worker for a %s command", s.ID, kind)
	}
	cmd.Id, cmd.RunId, cmd.SessionId, cmd.UserId = uuid.NewString(), runID, s.ID, s.UserID
	raw, err := Marshal(cmd)
	if err != nil {
		return err
	}
	err = s.tx.Later.RunCommandInsert(ctx, dbgen.RunCommandInsertParams{
		ID: cmd.GetId(), WorkerID: *worker, RunID: &runID, SessionID: s.ID, Kind: kind, Command: raw,
	})
	if err != nil {
		return fmt.Errorf("insert command: %w", err)
	}
	s.tx.NotifyWorker(*worker)
	return nil
}

// CommandDelete tells every worker that a session is gone: any of them may have
// had its workspace.
func (s *Session) CommandDelete(ctx context.Context) error {
	workers, err := s.tx.Q.WorkerList(ctx)
	if err != nil {
		return fmt.Errorf("list workers: %w", err)
	}
	for _, worker := range workers {
		id := uuid.NewString()
		raw, err := Marshal(&queuev1.RunCommand{
			Id: id, SessionId: s.ID, UserId: s.UserID, Kind: &queuev1.RunCommand_DeleteSession{DeleteSession: &queuev1.DeleteSessionCommand{}},
		})
		if err != nil {
			return err
		}
		err = s.tx.Later.RunCommandInsert(ctx, dbgen.RunCommandInsertParams{
			ID: id, WorkerID: worker, SessionID: s.ID, Kind: dbtype.CommandDelete, Command: raw,
		})
		if err != nil {
			return fmt.Errorf("insert command: %w", err)
		}
		s.tx.NotifyWorker(worker)
	}
	return nil
}
