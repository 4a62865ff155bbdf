package queue_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/db/dbtest"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/backend/internal/backendtest"
	"github.com/poco-ai/poco/services/internal/testkit"
)

// outOfTime makes a lease run out, an hour ago.
func outOfTime(t *testing.T, b *backendtest.Backend, c *queuev1.ClaimedRun) {
	t.Helper()
	_, err := b.Pool.Exec(t.Context(), `UPDATE runs SET lease_expires_at = now() - interval '1 hour' WHERE id = $1`, c.GetRun().GetId())
	require.NoError(t, err)
}

func statusOf(t *testing.T, b *backendtest.Backend, c *queuev1.ClaimedRun) backendv1.RunStatus {
	t.Helper()
	r := b.Run(t, c.GetRun().GetId())
	return r.GetStatus()
}

func renew(t *testing.T, b *backendtest.Backend, c *queuev1.ClaimedRun) bool {
	t.Helper()
	renewals, err := b.Queue.Renew(t.Context(), "w1", []*queuev1.Lease{{RunId: c.GetRun().GetId(), FencingToken: c.GetFencingToken()}}, backendtest.Lease)
	require.NoError(t, err)
	require.Len(t, renewals, 1)
	return renewals[0].GetRenewed()
}

// Anyone who could not renew its lease because the backend was away gets the time
// of a lease to do so.
func TestABackendThatWasAwayExpiresNothingAtOnce(t *testing.T) {
	b := backendtest.New(t)
	started := b.Start(t, "w1")
	b.Enqueue(t, "", "another")
	claimed := b.Claim(t, "w1")
	for _, away := range []time.Duration{0, 2 * time.Second, backendtest.Lease - time.Second} {
		b.Here.Set(away)
		outOfTime(t, b, started)
		outOfTime(t, b, claimed)
		require.NoError(t, b.Queue.ExpireLeases(t.Context()))
		others, err := b.Queue.Claim(t.Context(), "w2", 10, nil, backendtest.Lease)
		require.NoError(t, err)
		require.Empty(t, others)
		require.Equal(t, backendv1.RunStatus_RUN_STATUS_RUNNING, statusOf(t, b, started))
		require.Equal(t, backendv1.RunStatus_RUN_STATUS_CLAIMED, statusOf(t, b, claimed))

		require.True(t, renew(t, b, started))
		b.Append(t, started, backendtest.AgentStarted(1, "agent"), backendtest.Text(2, "goes on"))
		adopted, err := b.Queue.Adopt(t.Context(), "w1", backendtest.Lease)
		require.NoError(t, err)
		require.Len(t, adopted, 2, "a manager that was away together with the backend has its runs again")
		for _, c := range adopted {
			if c.GetRun().GetId() == started.GetRun().GetId() {
				started = c
			} else {
				claimed = c
			}
		}
	}
	// Who had the time and did not use it is gone.
	b.Here.Set(backendtest.Lease)
	outOfTime(t, b, started)
	require.NoError(t, b.Queue.ExpireLeases(t.Context()))
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_FAILED, statusOf(t, b, started))
	require.False(t, renew(t, b, started))
}

// A backend that was there all along does not wait for one that was not.
func TestABackendThatWasThereExpires(t *testing.T) {
	url := dbtest.URL(t, testkit.Postgres(t))
	back, there := backendtest.On(t, url), backendtest.On(t, url)
	back.Here.Set(0)
	there.Here.Set(0)
	c := back.Start(t, "w1")
	back.Append(t, c, backendtest.AgentStarted(1, "agent"))
	outOfTime(t, back, c)
	require.NoError(t, back.Queue.ExpireLeases(t.Context()))
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_RUNNING, statusOf(t, back, c))
	there.Here.Set(2 * backendtest.Lease)
	require.NoError(t, there.Queue.ExpireLeases(t.Context()))
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_FAILED, statusOf(t, back, c))
}

// A backend that is back does not take a manager for gone that has not found it
// yet.
func TestABackendThatWasAwayLeavesSessionsToTheirWorkers(t *testing.T) {
	b := backendtest.New(t)
	c := b.Start(t, "w1")
	b.Append(t, c, backendtest.Finished(1, completed))
	_, err := b.Pool.Exec(t.Context(), `UPDATE workers SET last_seen = now() - interval '1 day'`)
	require.NoError(t, err)
	b.Enqueue(t, c.GetRun().GetSessionId(), "go on")
	b.Here.Set(time.Second)
	runs, err := b.Queue.Claim(t.Context(), "w2", 1, nil, backendtest.Lease)
	require.NoError(t, err)
	require.Empty(t, runs)
	b.Here.Set(time.Minute)
	b.Claim(t, "w2")
}
