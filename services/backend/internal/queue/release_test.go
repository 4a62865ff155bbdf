package queue_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/backend/internal/backendtest"
)

func release(t *testing.T, b *backendtest.Backend, claims ...*queuev1.ClaimedRun) {
	t.Helper()
	var leases []*queuev1.Lease
	for _, c := range claims {
		leases = append(leases, &queuev1.Lease{RunId: c.GetRun().GetId(), FencingToken: c.GetFencingToken()})
	}
	require.NoError(t, b.Queue.Release(t.Context(), leases))
}

// What is given back is as it was before the claim: for any worker, at once,
// the first attempt.
func TestRelease(t *testing.T) {
	b := backendtest.New(t)
	for name, claim := range map[string]func(*testing.T) *queuev1.ClaimedRun{
		"claimed": func(t *testing.T) *queuev1.ClaimedRun { b.Enqueue(t, "", "x"); return b.Claim(t, "w1") },
		"started": func(t *testing.T) *queuev1.ClaimedRun { return b.Start(t, "w1") },
	} {
		t.Run(name, func(t *testing.T) {
			c := claim(t)
			release(t, b, c)
			release(t, b, c) // a repeated call changes nothing
			again := b.Claim(t, "w2")
			require.Equal(t, c.GetRun().GetId(), again.GetRun().GetId())
			require.EqualValues(t, 1, again.GetRun().GetAttempt())
			require.False(t, again.GetPromptOffered())
			require.Empty(t, again.GetWorkspaceWorkerId())
			require.Nil(t, again.GetRun().GetStartedAt())
			_, err := b.Queue.Start(t.Context(), c.GetRun().GetId(), c.GetFencingToken())
			requireReason(t, err, backendv1.ErrorReason_ERROR_REASON_FENCING_TOKEN_STALE)
			release(t, b, c) // nor does one that comes late
			_, err = b.Queue.Start(t.Context(), again.GetRun().GetId(), again.GetFencingToken())
			require.NoError(t, err)
			b.Append(t, again, backendtest.Finished(1, completed))
		})
	}
}

// A cancel that came before is not lost with the claim.
func TestReleaseOfACanceledRun(t *testing.T) {
	b := backendtest.New(t)
	c := b.Start(t, "w1")
	b.Cancel(t, c.GetRun().GetId(), "enough")
	release(t, b, c)
	r := b.Run(t, c.GetRun().GetId())
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_CANCELED, r.GetStatus())
	require.Equal(t, "enough", r.GetStatusMessage())
}

// A later attempt leaves behind what an earlier one may have done.
func TestReleaseOfALaterAttempt(t *testing.T) {
	b := backendtest.New(t)
	c := b.Start(t, "w1")
	_, err := b.Pool.Exec(t.Context(), `UPDATE runs SET lease_expires_at = now() - interval '1 second' WHERE id = $1`, c.GetRun().GetId())
	require.NoError(t, err)
	second := b.Claim(t, "w1")
	_, err = b.Queue.Start(t.Context(), second.GetRun().GetId(), second.GetFencingToken())
	require.NoError(t, err)
	release(t, b, second)
	again := b.Claim(t, "w1")
	require.EqualValues(t, 2, again.GetRun().GetAttempt())
	require.True(t, again.GetPromptOffered())
	require.Equal(t, "w1", again.GetWorkspaceWorkerId(), "its workspace tells whether the agent has the prompt")
}

// An executor that heard of no manager for too long says so; a run that may be
// resumed goes on then, as when its lease runs out at the backend.
func TestAnExecutorThatLostItsLease(t *testing.T) {
	b := backendtest.New(t)
	lost := func(seq int64) *executorv1.RunEvent {
		e := backendtest.Finished(seq, backendv1.RunStatus_RUN_STATUS_FAILED)
		e.GetPayload().GetRunFinished().Reason = backendv1.RunReason_RUN_REASON_LEASE_LOST
		return e
	}
	c := b.Start(t, "w1")
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_FAILED, b.Append(t, c, backendtest.AgentStarted(1, "agent"), lost(2)).Status)

	_, err := b.Tasks.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{
		Prompt: "x", Config: &backendv1.TaskConfig{LostExecutorPolicy: backendv1.LostExecutorPolicy_LOST_EXECUTOR_POLICY_RESUME.Enum()},
	})
	require.NoError(t, err)
	for _, want := range []backendv1.RunStatus{backendv1.RunStatus_RUN_STATUS_QUEUED, backendv1.RunStatus_RUN_STATUS_FAILED} {
		c = b.Claim(t, "w1")
		_, err = b.Queue.Start(t.Context(), c.GetRun().GetId(), c.GetFencingToken())
		require.NoError(t, err)
		seq := c.GetNextRunSeq()
		require.Equal(t, want, b.Append(t, c, backendtest.AgentStarted(seq, "agent"), lost(seq+1)).Status, "once")
	}
	require.Equal(t, []int64{1, 2, 3}, runSeqs(events(t, b, c.GetRun().GetSessionId())), "there is one end")
}
