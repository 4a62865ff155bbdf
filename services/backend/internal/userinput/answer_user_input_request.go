package userinput

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/poco-ai/poco/db/dbgen"
	"github.com/poco-ai/poco/db/dbtype"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// AnswerUserInputRequest hands answers to the waiting agent.
func (s *Service) AnswerUserInputRequest(ctx context.Context, req *backendv1.AnswerUserInputRequestRequest) (*backendv1.AnswerUserInputRequestResponse, error) {
	id := req.GetUserInputRequestId()
	owned, err := s.store.Read().UserInputRequestGetOwned(ctx, id, auth.User(ctx))
	if store.IsNotFound(err) {
		return nil, rpcerror.NotFound("user input request", id)
	}
	if err != nil {
		return nil, fmt.Errorf("read question: %w", err)
	}
	var result *backendv1.UserInputRequest
	var refused error // returned after the commit, so that an expiry is kept
	err = s.store.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		refused = nil
		session, err := tx.LockSession(ctx, owned.SessionID)
		if err != nil {
			return err
		}
		locked, err := tx.Q.UserInputRequestLock(ctx, owned.ID)
		if err != nil {
			return fmt.Errorf("lock question: %w", err)
		}
		row := &locked.UserInputRequest
		if row.Status == dbtype.InputPending && locked.Expired {
			if err := resolve(ctx, session, row, dbtype.InputExpired, nil, nil); err != nil {
				return err
			}
		}
		if refused = closed(row.Status); refused != nil {
			return nil //nolint:nilerr // commit what was marked
		}
		var asked backendv1.UserInputRequested
		if err := proto.Unmarshal(row.Request, &asked); err != nil {
			return fmt.Errorf("decode question %s: %w", row.ID, err)
		}
		checked, err := inOrder(asked.GetQuestions(), req.GetAnswers())
		if err != nil {
			return err
		}
		now := store.Now()
		if err := resolve(ctx, session, row, dbtype.InputAnswered, checked, &now); err != nil {
			return err
		}
		if err := command(ctx, session, row, checked); err != nil {
			return err
		}
		result, err = Proto(row)
		return err
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	return &backendv1.AnswerUserInputRequestResponse{UserInputRequest: result}, nil
}

// closed says why a question takes no answer; nil when it is open.
func closed(status dbtype.InputStatus) error {
	switch status {
	case dbtype.InputPending:
		return nil
	case dbtype.InputAnswered:
		return rpcerror.FailedPrecondition(backendv1.ErrorReason_ERROR_REASON_USER_INPUT_ANSWERED, "the question has been answered", nil)
	case dbtype.InputExpired:
		return rpcerror.FailedPrecondition(backendv1.ErrorReason_ERROR_REASON_USER_INPUT_EXPIRED, "the time for an answer is over; the agent went on without one", nil)
	default:
		return rpcerror.FailedPrecondition(backendv1.ErrorReason_ERROR_REASON_USER_INPUT_CANCELED, "the run has ended", nil)
	}
}

func command(ctx context.Context, s *store.Session, row *dbgen.UserInputRequest, answers []*backendv1.UserAnswer) error {
	return s.Command(ctx, s.WorkerID, row.RunID, dbtype.CommandAnswer, &queuev1.RunCommand{Kind: &queuev1.RunCommand_Answer{Answer: &queuev1.AnswerCommand{
		UserInputRequestId: row.ID, Status: backendv1.UserInputStatus_USER_INPUT_STATUS_ANSWERED, Answers: answers,
	}}})
}
