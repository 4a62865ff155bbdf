package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

func TestCancelMidRun(t *testing.T) {
	for _, runtime := range []string{processRuntime, dockerRuntime} {
		t.Run(runtime, func(t *testing.T) {
			s := newStack(t, stackOptions{runtime: runtime}).start()
			f, session, run := s.midRun()
			resp, err := s.runs.CancelRun(t.Context(), &backendv1.CancelRunRequest{RunId: run, Reason: "changed my mind"})
			require.NoError(t, err)
			require.Equal(t, backendv1.RunStatus_RUN_STATUS_CANCELING, resp.GetRun().GetStatus())
			end := f.awaitEnd(run)
			require.Equal(t, backendv1.RunStatus_RUN_STATUS_CANCELED, end.GetStatus())
			require.Equal(t, backendv1.RunReason_RUN_REASON_CANCELED, end.GetReason())
			require.Contains(t, end.GetMessage(), "changed my mind")
			require.Empty(t, s.agentProcesses(session))

			// The session is not spoiled.
			_, next := s.enqueue("Go on. [[bash]]", session)
			require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, f.awaitEnd(next).GetStatus())
		})
	}
}

// A question that nobody answers in time ends; the agent is told and goes on.
func TestQuestionExpires(t *testing.T) {
	s := newStack(t, stackOptions{env: map[string]string{"USER_INPUT_TIMEOUT_SECONDS": "1"}}).start()
	session, run := s.enqueue("Ask me. [[ask]]", "")
	f := s.follow(session)
	asked := f.await("the question", func(e *backendv1.SessionEvent) bool { return e.GetPayload().GetUserInputRequested() != nil })
	resolved := f.await("its end", func(e *backendv1.SessionEvent) bool { return e.GetPayload().GetUserInputResolved() != nil })
	require.Equal(t, backendv1.UserInputStatus_USER_INPUT_STATUS_EXPIRED, resolved.GetPayload().GetUserInputResolved().GetStatus())
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, f.awaitEnd(run).GetStatus())

	_, err := s.inputs.AnswerUserInputRequest(t.Context(), &backendv1.AnswerUserInputRequestRequest{
		UserInputRequestId: asked.GetPayload().GetUserInputRequested().GetUserInputRequestId(),
		Answers:            []*backendv1.UserAnswer{{QuestionId: "1", Selected: []string{"Red"}}},
	})
	require.Equal(t, codes.FailedPrecondition, status.Code(err))
	require.Equal(t, backendv1.ErrorReason_ERROR_REASON_USER_INPUT_EXPIRED, rpcerror.Reason(err))
}
