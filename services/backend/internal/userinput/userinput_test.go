package userinput_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/backend/internal/backendtest"
	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

func requireAnswers(t *testing.T, want, got []*backendv1.UserAnswer) {
	t.Helper()
	wanted, have := &backendv1.UserInputRequest{Answers: want}, &backendv1.UserInputRequest{Answers: got}
	require.True(t, proto.Equal(wanted, have), "%v instead of %v", have, wanted)
}

// Two questions of one text have an answer each, which arrives as it was given.
func TestAnswersToSeveralQuestions(t *testing.T) {
	b := backendtest.New(t)
	c := b.Start(t, "w1")
	id := uuid.NewString()
	options := []*backendv1.UserQuestionOption{{Label: "A, B"}, {Label: "C"}}
	b.Append(t, c, backendtest.Event(1, &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_UserInputRequested{UserInputRequested: &backendv1.UserInputRequested{
		UserInputRequestId: id, ToolName: "AskUserQuestion", ExpiresAt: timestamppb.New(time.Now().Add(time.Hour)),
		Questions: []*backendv1.UserQuestion{
			{Id: "one", Question: "Which?", Options: options}, {Id: "several", Question: "Which?", Options: options, MultiSelect: true}, {Id: "free", Question: "Why?"},
		},
	}}}))
	one := &backendv1.UserAnswer{QuestionId: "one", Selected: []string{"C"}, OtherText: "for now"}
	several := &backendv1.UserAnswer{QuestionId: "several", Selected: []string{"C", "A, B"}}
	free := &backendv1.UserAnswer{QuestionId: "free", OtherText: "because of \x00"}

	for name, c := range map[string]struct {
		answers []*backendv1.UserAnswer
		message string
	}{
		"a missing answer":  {[]*backendv1.UserAnswer{one, free}, `answers: question "several" (Which?) has no answer`},
		"an unknown id":     {[]*backendv1.UserAnswer{one, several, free, {QuestionId: "two", OtherText: "x"}}, `answers[3].question_id: question "two": the request has no question with this id`},
		"two answers":       {[]*backendv1.UserAnswer{one, one, several, free}, `answers[1].question_id: question "one": has two answers`},
		"nothing":           {[]*backendv1.UserAnswer{one, several, {QuestionId: "free"}}, `answers[2].selected: question "free": nothing is selected, and other_text is empty`},
		"blank":             {[]*backendv1.UserAnswer{one, several, {QuestionId: "free", OtherText: " "}}, `answers[2].selected: question "free": nothing is selected, and other_text is empty`},
		"too many":          {[]*backendv1.UserAnswer{{QuestionId: "one", Selected: []string{"C", "A, B"}}, several, free}, `answers[0].selected: question "one": takes one option only`},
		"an unknown option": {[]*backendv1.UserAnswer{one, {QuestionId: "several", Selected: []string{"C", "A"}}, free}, `answers[1].selected: question "several": "A" is no label of its options; an answer in other words goes into other_text`},
		"no options at all": {[]*backendv1.UserAnswer{one, several, {QuestionId: "free", Selected: []string{"C"}}}, `answers[2].selected: question "free": "C" is no label of its options; an answer in other words goes into other_text`},
		"twice":             {[]*backendv1.UserAnswer{one, {QuestionId: "several", Selected: []string{"C", "C"}}, free}, `answers[1].selected: question "several": "C" is selected twice`},
	} {
		_, err := b.Questions.AnswerUserInputRequest(t.Context(), &backendv1.AnswerUserInputRequestRequest{UserInputRequestId: id, Answers: c.answers})
		require.Equal(t, backendv1.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, rpcerror.Reason(err), name)
		require.EqualError(t, err, "answer: "+c.message, name)
	}

	resp, err := b.Questions.AnswerUserInputRequest(t.Context(), &backendv1.AnswerUserInputRequestRequest{UserInputRequestId: id, Answers: []*backendv1.UserAnswer{free, several, one}})
	require.NoError(t, err)
	want := []*backendv1.UserAnswer{one, several, {QuestionId: "free", OtherText: "because of \u2400"}}
	requireAnswers(t, want, resp.GetUserInputRequest().GetAnswers())
	requireAnswers(t, want, b.Commands(t, "w1")[0].GetAnswer().GetAnswers())
}

func TestAnswer(t *testing.T) {
	b := backendtest.New(t)
	c := b.Start(t, "w1")
	id := uuid.NewString()
	b.Append(t, c, backendtest.Question(1, id, time.Now().Add(time.Hour)))

	_, err := b.Questions.AnswerUserInputRequest(auth.WithUser(t.Context(), "someone-else"), &backendv1.AnswerUserInputRequestRequest{UserInputRequestId: id, Answers: backendtest.Answers()})
	require.Equal(t, backendv1.ErrorReason_ERROR_REASON_NOT_FOUND, rpcerror.Reason(err))

	resp, err := b.Questions.AnswerUserInputRequest(t.Context(), &backendv1.AnswerUserInputRequestRequest{UserInputRequestId: id, Answers: backendtest.Answers()})
	require.NoError(t, err)
	require.Equal(t, backendv1.UserInputStatus_USER_INPUT_STATUS_ANSWERED, resp.GetUserInputRequest().GetStatus())
	requireAnswers(t, backendtest.Answers(), resp.GetUserInputRequest().GetAnswers())
	require.NotNil(t, resp.GetUserInputRequest().GetAnsweredAt())
	commands := b.Commands(t, "w1")
	require.Len(t, commands, 1)
	requireAnswers(t, backendtest.Answers(), commands[0].GetAnswer().GetAnswers())

	_, err = b.Questions.AnswerUserInputRequest(t.Context(), &backendv1.AnswerUserInputRequestRequest{UserInputRequestId: id, Answers: backendtest.Answers()})
	require.Equal(t, backendv1.ErrorReason_ERROR_REASON_USER_INPUT_ANSWERED, rpcerror.Reason(err))
}

func TestAnswerToAnExpiredQuestion(t *testing.T) {
	b := backendtest.New(t)
	c := b.Start(t, "w1")
	id := uuid.NewString()
	b.Append(t, c, backendtest.Question(1, id, time.Now().Add(-time.Second)))
	_, err := b.Questions.AnswerUserInputRequest(t.Context(), &backendv1.AnswerUserInputRequestRequest{UserInputRequestId: id, Answers: backendtest.Answers()})
	require.Equal(t, backendv1.ErrorReason_ERROR_REASON_USER_INPUT_EXPIRED, rpcerror.Reason(err))
	list, err := b.Questions.ListUserInputRequests(t.Context(), &backendv1.ListUserInputRequestsRequest{
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
	_, err := b.Questions.AnswerUserInputRequest(t.Context(), &backendv1.AnswerUserInputRequestRequest{UserInputRequestId: id, Answers: backendtest.Answers()})
	require.Equal(t, backendv1.ErrorReason_ERROR_REASON_USER_INPUT_CANCELED, rpcerror.Reason(err))
}

func TestQuestionExpiresByItself(t *testing.T) {
	b := backendtest.New(t)
	c := b.Start(t, "w1")
	id := uuid.NewString()
	b.Append(t, c, backendtest.Question(1, id, time.Now().Add(200*time.Millisecond)))
	found := backendv1.UserInputStatus_USER_INPUT_STATUS_UNSPECIFIED
	err := b.Sessions.Watch(t.Context(), backendtest.User, &backendv1.WatchSessionRequest{SessionId: c.GetRun().GetSessionId()}, func(m *backendv1.WatchSessionResponse) error {
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
