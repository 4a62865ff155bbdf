// Package userinput holds the agent's questions and their answers, and is
// poco.backend.v1.UserInputService.
package userinput

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/poco-ai/poco/db/dbgen"
	"github.com/poco-ai/poco/db/dbtype"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/backend/internal/store"
)

// ID returns the id under which a question is kept: the executor's, where it is
// a UUID, else one made from it.
func ID(runID, given string) string {
	if id, err := uuid.Parse(given); err == nil {
		return id.String()
	}
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte(runID+"/"+given)).String()
}

// Open stores a question of a run. The session is locked.
func Open(ctx context.Context, s *store.Session, runID string, at, expires time.Time, asked *backendv1.UserInputRequested) error {
	raw, err := store.Marshal(asked)
	if err != nil {
		return err
	}
	inserted, err := s.Tx().Q.UserInputRequestInsert(ctx, dbgen.UserInputRequestInsertParams{
		ID: asked.GetUserInputRequestId(), SessionID: s.ID, RunID: runID, UserID: s.UserID, ToolName: asked.GetToolName(),
		Request: raw, ExpiresAt: expires, CreatedAt: at,
	})
	if err != nil {
		return fmt.Errorf("insert question: %w", err)
	}
	s.OpenQuestions += int32(inserted) //nolint:gosec // 0 when it is there already, else 1
	return nil
}

// CancelOpen ends a run's open questions: the run is over.
func CancelOpen(ctx context.Context, s *store.Session, runID string) error {
	if s.OpenQuestions == 0 {
		return nil
	}
	open, err := s.Tx().Q.UserInputRequestListOpen(ctx, runID)
	if err != nil {
		return fmt.Errorf("list open questions: %w", err)
	}
	for i := range open {
		if err := resolve(ctx, s, &open[i], dbtype.InputCanceled, nil, nil); err != nil {
			return err
		}
	}
	return nil
}

// resolve closes a question and tells the watchers.
func resolve(ctx context.Context, s *store.Session, row *dbgen.UserInputRequest, status dbtype.InputStatus, answers []*backendv1.UserAnswer, at *time.Time) error {
	resolved := &backendv1.UserInputResolved{UserInputRequestId: row.ID, Status: store.InputStatus(status), Answers: answers}
	raw, err := store.Marshal(resolved)
	if err != nil {
		return err
	}
	err = s.Tx().Later.UserInputRequestResolve(ctx, dbgen.UserInputRequestResolveParams{ID: row.ID, Status: status, Resolution: raw, AnsweredAt: at})
	if err != nil {
		return fmt.Errorf("resolve question: %w", err)
	}
	row.Status, row.Resolution, row.AnsweredAt = status, raw, at
	s.OpenQuestions--
	return s.Emit(row.RunID, &backendv1.EventPayload{Kind: &backendv1.EventPayload_UserInputResolved{UserInputResolved: resolved}})
}

// Proto converts a row.
func Proto(row *dbgen.UserInputRequest) (*backendv1.UserInputRequest, error) {
	var asked backendv1.UserInputRequested
	if err := proto.Unmarshal(row.Request, &asked); err != nil {
		return nil, fmt.Errorf("decode question %s: %w", row.ID, err)
	}
	var resolved backendv1.UserInputResolved
	if err := proto.Unmarshal(row.Resolution, &resolved); err != nil {
		return nil, fmt.Errorf("decode answer %s: %w", row.ID, err)
	}
	p := &backendv1.UserInputRequest{
		Id: row.ID, SessionId: row.SessionID, RunId: row.RunID, ToolName: row.ToolName, Questions: asked.GetQuestions(),
		Status: store.InputStatus(row.Status), Answers: resolved.GetAnswers(),
		ExpiresAt: timestamppb.New(row.ExpiresAt), CreatedAt: timestamppb.New(row.CreatedAt),
	}
	if row.AnsweredAt != nil {
		p.AnsweredAt = timestamppb.New(*row.AnsweredAt)
	}
	return p, nil
}
