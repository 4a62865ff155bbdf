package queue_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/backend/internal/backendtest"
)

// What a run did belongs to its record, also when it was given up before that
// came through. It stays as it ended, and what goes on does not notice.
func TestRecover(t *testing.T) {
	b := backendtest.New(t)
	c := b.Start(t, "w1")
	id, session := c.GetRun().GetId(), c.GetRun().GetSessionId()
	b.Append(t, c, backendtest.AgentStarted(1, "agent"))
	late := []*executorv1.RunEvent{
		backendtest.AgentStarted(1, "agent"), backendtest.Text(2, "late"),
		backendtest.Event(3, &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_TodosChanged{TodosChanged: &backendv1.TodosChanged{CurrentStep: "old"}}}),
		backendtest.Finished(4, completed),
	}
	_, err := b.Queue.Recover(t.Context(), "w1", id, 1, late)
	requireReason(t, err, backendv1.ErrorReason_ERROR_REASON_RUN_NOT_FINISHED)

	_, err = b.Pool.Exec(t.Context(), `UPDATE runs SET lease_expires_at = now() - interval '1 second' WHERE id = $1`, id)
	require.NoError(t, err)
	require.NoError(t, b.Queue.ExpireLeases(t.Context()))
	_, err = b.Queue.Recover(t.Context(), "w2", id, 1, late)
	requireReason(t, err, backendv1.ErrorReason_ERROR_REASON_FENCING_TOKEN_STALE)
	_, err = b.Queue.Recover(t.Context(), "w1", id, 1, late[2:])
	requireReason(t, err, backendv1.ErrorReason_ERROR_REASON_RUN_SEQ_GAP)
	for range 2 { // each event once
		acked, err := b.Queue.Recover(t.Context(), "w1", id, 1, late)
		require.NoError(t, err)
		require.EqualValues(t, 3, acked)
	}
	require.Equal(t, []int64{1, 2, 3}, runSeqs(events(t, b, session)))
	r := b.Run(t, id)
	require.Equal(t, backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, r.GetStatusReason())
	s := b.Session(t, session)
	require.Empty(t, s.GetState().GetCurrentStep())
}
