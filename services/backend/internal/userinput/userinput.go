package userinput

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/poco-ai/poco/db/dbgen"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/backend/internal/page"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/internal/pagesize"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// Requests is what users do with questions.
type Requests struct {
	store  *store.Store
	tokens *page.Tokens
}

// New returns the questions on a store.
func New(st *store.Store, tokens *page.Tokens) *Requests {
	return &Requests{store: st, tokens: tokens}
}

// List lists a user's questions, oldest first.
func (s *Requests) List(ctx context.Context, userID string, req *backendv1.ListUserInputRequestsRequest) (*backendv1.ListUserInputRequestsResponse, error) {
	statuses := make([]string, 0, len(req.GetStatuses()))
	for _, status := range req.GetStatuses() {
		statuses = append(statuses, store.InputStatusText(status))
	}
	slices.Sort(statuses)
	list := "questions/" + userID + "/" + req.GetSessionId() + "/" + strings.Join(statuses, ",")
	key, err := s.tokens.Decode(list, req.GetPageToken(), page.Oldest)
	if err != nil {
		return nil, err
	}
	size := pagesize.Usual.Of(req.GetPageSize())
	rows, err := s.read(ctx, userID, req.GetSessionId(), statuses, key, size+1)
	if err != nil {
		return nil, err
	}
	resp := &backendv1.ListUserInputRequestsResponse{}
	var more bool
	resp.UserInputRequests, more, err = page.Fill(rows, size, func(row *dbgen.UserInputRequestListRow) (*backendv1.UserInputRequest, error) {
		row.UserInputRequest.Status = row.StatusNow
		return Proto(&row.UserInputRequest)
	})
	more = more || len(rows) > 0 && int64(len(rows)) < rows[0].Candidates
	if err == nil && more {
		last := rows[len(resp.GetUserInputRequests())-1].UserInputRequest
		resp.NextPageToken, err = s.tokens.Encode(list, page.Key{Time: last.CreatedAt, ID: last.ID})
	}
	return resp, err
}

func (s *Requests) read(ctx context.Context, userID, sessionID string, statuses []string, key page.Key, limit int32) ([]dbgen.UserInputRequestListRow, error) {
	q := s.store.Read()
	if sessionID == "" {
		rows, err := q.UserInputRequestList(ctx, dbgen.UserInputRequestListParams{
			UserID: userID, Statuses: statuses, StoredStatuses: stored(statuses), AfterCreatedAt: key.Time, AfterID: key.ID, PageLimit: limit, MaxBytes: page.MaxBytes,
		})
		if err != nil {
			return nil, fmt.Errorf("list questions: %w", err)
		}
		return rows, nil
	}
	if _, err := s.store.OwnedSession(ctx, userID, sessionID); err != nil {
		return nil, err
	}
	rows, err := q.UserInputRequestListOfSession(ctx, dbgen.UserInputRequestListOfSessionParams{
		SessionID: sessionID, Statuses: statuses, AfterCreatedAt: key.Time, AfterID: key.ID, PageLimit: limit, MaxBytes: page.MaxBytes,
	})
	if err != nil {
		return nil, fmt.Errorf("list questions of session: %w", err)
	}
	result := make([]dbgen.UserInputRequestListRow, 0, len(rows))
	for _, row := range rows {
		result = append(result, dbgen.UserInputRequestListRow(row))
	}
	return result, nil
}

// stored are the states under which questions of the given states may be kept.
func stored(statuses []string) []string {
	if slices.Contains(statuses, store.InputExpired) {
		return append(slices.Clone(statuses), store.InputPending)
	}
	return statuses
}

// Answer hands answers to the waiting agent.
func (s *Requests) Answer(ctx context.Context, userID, id string, answers []*backendv1.UserAnswer) (*backendv1.UserInputRequest, error) {
	owned, err := s.store.Read().UserInputRequestGetOwned(ctx, id, userID)
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
		if row.Status == store.InputPending && locked.Expired {
			if err := resolve(ctx, session, row, store.InputExpired, nil, nil); err != nil {
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
		checked, err := inOrder(asked.GetQuestions(), answers)
		if err != nil {
			return err
		}
		now := store.Now()
		if err := resolve(ctx, session, row, store.InputAnswered, checked, &now); err != nil {
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
	return result, nil
}

// closed says why a question takes no answer; nil when it is open.
func closed(status string) error {
	switch status {
	case store.InputPending:
		return nil
	case store.InputAnswered:
		return rpcerror.FailedPrecondition(backendv1.ErrorReason_ERROR_REASON_USER_INPUT_ANSWERED, "the question has been answered", nil)
	case store.InputExpired:
		return rpcerror.FailedPrecondition(backendv1.ErrorReason_ERROR_REASON_USER_INPUT_EXPIRED, "the time for an answer is over; the agent went on without one", nil)
	default:
		return rpcerror.FailedPrecondition(backendv1.ErrorReason_ERROR_REASON_USER_INPUT_CANCELED, "the run has ended", nil)
	}
}

func command(ctx context.Context, s *store.Session, row *dbgen.UserInputRequest, answers []*backendv1.UserAnswer) error {
	return s.Command(ctx, s.WorkerID, row.RunID, store.CommandAnswer, &queuev1.RunCommand{Kind: &queuev1.RunCommand_Answer{Answer: &queuev1.AnswerCommand{
		UserInputRequestId: row.ID, Status: backendv1.UserInputStatus_USER_INPUT_STATUS_ANSWERED, Answers: answers,
	}}})
}
