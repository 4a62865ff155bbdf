package queue_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/backend/internal/backendtest"
	"github.com/poco-ai/poco/services/backend/internal/run"
)

// resumable enqueues a run that goes on when its executor is lost.
func resumable(t *testing.T, b *backendtest.Backend) {
	t.Helper()
	_, err := b.Tasks.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{
		Prompt: "x", Config: &backendv1.TaskConfig{LostExecutorPolicy: backendv1.LostExecutorPolicy_LOST_EXECUTOR_POLICY_RESUME.Enum()},
	})
	require.NoError(t, err)
}

func begin(t *testing.T, b *backendtest.Backend) *queuev1.ClaimedRun {
	t.Helper()
	c := b.Claim(t, "w1")
	_, err := b.Queue.Start(t.Context(), c.GetRun().GetId(), c.GetFencingToken())
	require.NoError(t, err)
	return c
}

// An executor that is gone is the end of an attempt, and not of a run that may
// be resumed: whether the manager says so, or the executor's last event.
func TestARunThatMayBeResumedOutlivesItsExecutor(t *testing.T) {
	const gone = "The executor is gone: it was killed."
	end := func(c *queuev1.ClaimedRun) *executorv1.RunEvent {
		e := backendtest.Finished(c.GetNextRunSeq()+1, backendv1.RunStatus_RUN_STATUS_FAILED)
		e.GetPayload().GetRunFinished().Reason, e.GetPayload().GetRunFinished().Message = backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, gone
		return e
	}
	for name, tell := range map[string]func(*testing.T, *backendtest.Backend, *queuev1.ClaimedRun) backendv1.RunStatus{
		"its manager says so": func(t *testing.T, b *backendtest.Backend, c *queuev1.ClaimedRun) backendv1.RunStatus {
			r, err := b.Queue.Finish(t.Context(), c.GetRun().GetId(), c.GetFencingToken(), run.Outcome{Status: "failed", Reason: backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, Message: gone})
			require.NoError(t, err)
			return r.GetStatus()
		},
		"it says so": func(t *testing.T, b *backendtest.Backend, c *queuev1.ClaimedRun) backendv1.RunStatus {
			return b.Append(t, c, end(c)).Status
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := backendtest.New(t)
			resumable(t, b)
			for attempt, want := range []backendv1.RunStatus{backendv1.RunStatus_RUN_STATUS_QUEUED, backendv1.RunStatus_RUN_STATUS_FAILED} {
				claim := begin(t, b)
				require.EqualValues(t, attempt+1, claim.GetRun().GetAttempt())
				require.Equal(t, attempt > 0, claim.GetPromptSubmitted())
				b.Append(t, claim, backendtest.AgentStarted(claim.GetNextRunSeq(), "agent"))
				require.Equal(t, want, tell(t, b, claim), "it is resumed once")
				if want == backendv1.RunStatus_RUN_STATUS_QUEUED {
					_, err := b.Queue.Start(t.Context(), claim.GetRun().GetId(), claim.GetFencingToken())
					requireReason(t, err, backendv1.ErrorReason_ERROR_REASON_FENCING_TOKEN_STALE)
					_, err = b.Queue.Recover(t.Context(), "w1", claim.GetRun().GetId(), 1, nil)
					requireReason(t, err, backendv1.ErrorReason_ERROR_REASON_RUN_NOT_FINISHED) // its next attempt delivers what is left
					s := sessionOf(t, b, claim.GetRun().GetSessionId())
					require.Equal(t, backendv1.ExportStatus_EXPORT_STATUS_UNSPECIFIED, s.GetExport().GetStatus(), "nothing is exported in the middle of a run")
				}
			}
			var notices []string
			list, err := b.Sessions.ListSessions(t.Context(), &backendv1.ListSessionsRequest{})
			require.NoError(t, err)
			for _, e := range events(t, b, list.GetSessions()[0].GetId()) {
				if n := e.GetPayload().GetNotice(); n != nil {
					notices = append(notices, n.GetCode()+": "+n.GetText())
				}
			}
			require.Equal(t, []string{"executor_lost: " + gone + "\nThe run goes on with another executor."}, notices)
		})
	}
}

// What no agent has had goes on as well, also once; a cancel and other ends do
// not become another attempt.
func TestWhatEndsARunThatMayBeResumed(t *testing.T) {
	b := backendtest.New(t)
	finish := func(c *queuev1.ClaimedRun, reason backendv1.RunReason) backendv1.RunStatus {
		r, err := b.Queue.Finish(t.Context(), c.GetRun().GetId(), c.GetFencingToken(), run.Outcome{Status: "failed", Reason: reason})
		require.NoError(t, err)
		return r.GetStatus()
	}
	resumable(t, b)
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_QUEUED, finish(begin(t, b), backendv1.RunReason_RUN_REASON_EXECUTOR_LOST))
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_FAILED, finish(begin(t, b), backendv1.RunReason_RUN_REASON_EXECUTOR_LOST))

	resumable(t, b)
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_FAILED, finish(begin(t, b), backendv1.RunReason_RUN_REASON_IMAGE_MISSING))

	resumable(t, b)
	c := begin(t, b)
	b.Cancel(t, c.GetRun().GetId(), "")
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_CANCELED, finish(c, backendv1.RunReason_RUN_REASON_EXECUTOR_LOST))

	require.Equal(t, backendv1.RunStatus_RUN_STATUS_FAILED, finish(b.Start(t, "w1"), backendv1.RunReason_RUN_REASON_EXECUTOR_LOST), "it has no such policy")
}
