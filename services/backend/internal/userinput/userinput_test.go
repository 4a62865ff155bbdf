package userinput_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/backend/internal/backendtest"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

var answers = map[string]string{"Which?": "A"}

func TestAnswer(t *testing.T) {
	b := backendtest.New(t)
	c := b.Start(t, "w1")
	id := uuid.NewString()
	b.Append(t, c, backendtest.Question(1, id, time.Now().Add(time.Hour)))

	for name, wrong := range map[string]map[string]string{
		"no answer":     {"Other?": "A"},
		"blank answer":  {"Which?": " "},
		"no such thing": {"Which?": "A", "Other?": "B"},
	} {
		_, err := b.Questions.Answer(t.Context(), backendtest.User, id, wrong)
		require.Equal(t, backendv1.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, rpcerror.Reason(err), name)
	}
	_, err := b.Questions.Answer(t.Context(), "someone-else", id, answers)
	require.Equal(t, backendv1.ErrorReason_ERROR_REASON_NOT_FOUND, rpcerror.Reason(err))

	p, err := b.Questions.Answer(t.Context(), backendtest.User, id, answers)
	require.NoError(t, err)
	require.Equal(t, backendv1.UserInputStatus_USER_INPUT_STATUS_ANSWERED, p.GetStatus())
	require.Equal(t, answers, p.GetAnswers())
	require.NotNil(t, p.GetAnsweredAt())
	commands := b.Commands(t, "w1")
	require.Len(t, commands, 1)
	require.Equal(t, answers, commands[0].GetAnswer().GetAnswers())

	_, err = b.Questions.Answer(t.Context(), backendtest.User, id, answers)
	require.Equal(t, backendv1.ErrorReason_ERROR_REASON_USER_INPUT_ANSWERED, rpcerror.Reason(err))
}

func TestAnswerToAnExpiredQuestion(t *testing.T) {
	b := backendtest.New(t)
	c := b.Start(t, "w1")
	id := uuid.NewString()
	b.Append(t, c, backendtest.Question(1, id, time.Now().Add(-time.Second)))
	_, err := b.Questions.Answer(t.Context(), backendtest.User, id, answers)
	require.Equal(t, backendv1.ErrorReason_ERROR_REASON_USER_INPUT_EXPIRED, rpcerror.Reason(err))
	list, err := b.Questions.List(t.Context(), backendtest.User, &backendv1.ListUserInputRequestsRequest{
		SessionId: c.GetRun().GetSessionId(), Statuses: []backendv1.UserInputStatus{backendv1.UserInputStatus_USER_INPUT_STATUS_EXPIRED},
	})
	require.NoError(t, err)
	require.Len(t, list.GetUserInputRequests(), 1)
}

func TestAnswerAfterTheRunEnded(t *testing.T) {
	b := backendtest.New(t)
	c := b.Start(t, "w1")
	id := uuid.NewString()
	b.Append(t, c, backendtest.Question(1, id, time.Now().Add(time.Hour)), backendtest.Finished(2, backendv1.RunStatus_RUN_STATUS_FAILED))
	_, err := b.Questions.Answer(t.Context(), backendtest.User, id, answers)
	require.Equal(t, backendv1.ErrorReason_ERROR_REASON_USER_INPUT_CANCELED, rpcerror.Reason(err))
}

func TestQuestionExpiresByItself(t *testing.T) {
	b := backendtest.New(t)
	c := b.Start(t, "w1")
	id := uuid.NewString()
	b.Append(t, c, backendtest.Question(1, id, time.Now().Add(200*time.Millisecond)))
	found := backendv1.UserInputStatus_USER_INPUT_STATUS_UNSPECIFIED
	err := b.Hub.Session(t.Context(), backendtest.User, &backendv1.WatchSessionRequest{SessionId: c.GetRun().GetSessionId()}, func(m *backendv1.WatchSessionResponse) error {
		if r := m.GetEvent().GetPayload().GetUserInputResolved(); r != nil {
			found = r.GetStatus()
			return errFound
		}
		return nil
	})
	require.ErrorIs(t, err, errFound)
	require.Equal(t, backendv1.UserInputStatus_USER_INPUT_STATUS_EXPIRED, found)
}

type found struct{}

func (found) Error() string { return "found" }

var errFound error = found{}
