package queue_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/db/dbtest"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/backend/internal/backendtest"
	"github.com/poco-ai/poco/services/internal/rpcerror"
	"github.com/poco-ai/poco/services/internal/testkit"
)

// abandon makes the worker of everything look as if it never came back, and has
// the sweep look.
func abandon(t *testing.T, b *backendtest.Backend) {
	t.Helper()
	gone(t, b, "w1")
	_, err := b.Pool.Exec(t.Context(), `UPDATE runs SET lease_expires_at = now() - interval '1 hour' WHERE lease_expires_at IS NOT NULL`)
	require.NoError(t, err)
	b.Queue.SweepBy(time.Now())
}

func sessionOf(t *testing.T, b *backendtest.Backend, id string) *backendv1.Session {
	t.Helper()
	s := b.Session(t, id)
	return s
}

// awaitSession waits until a session is what is wanted.
func awaitSession(t *testing.T, b *backendtest.Backend, id string, want func(*backendv1.Session) bool) *backendv1.Session {
	t.Helper()
	var s *backendv1.Session
	require.Eventually(t, func() bool {
		s = sessionOf(t, b, id)
		return want(s)
	}, 30*time.Second, 10*time.Millisecond)
	return s
}

// Each state has somebody who ends it when its owner never comes back: the rows
// of "Who ends what" in docs/architecture.md.
func TestEveryStateEndsWithoutItsOwner(t *testing.T) {
	url := testkit.Postgres(t)
	setup := func(t *testing.T) *backendtest.Backend { return backendtest.On(t, dbtest.URL(t, url)) }
	awaitStatus := func(t *testing.T, b *backendtest.Backend, c *queuev1.ClaimedRun, want backendv1.RunStatus) *backendv1.Run {
		t.Helper()
		var r *backendv1.Run
		require.Eventually(t, func() bool {
			resp, err := b.Runs.GetRun(t.Context(), &backendv1.GetRunRequest{RunId: c.GetRun().GetId()})
			r = resp.GetRun()
			return assert.NoError(t, err) && r.GetStatus() == want
		}, 30*time.Second, 10*time.Millisecond)
		return r
	}
	requireIdle := func(t *testing.T, b *backendtest.Backend, c *queuev1.ClaimedRun) {
		t.Helper()
		row, err := b.Store.Read().SessionIsIdle(t.Context(), c.GetRun().GetSessionId())
		require.NoError(t, err)
		require.True(t, row.Idle, "who watches with stop_when_idle would wait for ever")
		var commands int
		require.NoError(t, b.Pool.QueryRow(t.Context(), `SELECT count(*) FROM run_commands`).Scan(&commands))
		require.Zero(t, commands, "commands that nobody will take")
	}
	export := backendv1.ExportStatus_EXPORT_STATUS_PENDING

	t.Run("claimed", func(t *testing.T) {
		b := setup(t)
		b.Enqueue(t, "", "x")
		c := b.Claim(t, "w1")
		abandon(t, b)
		awaitStatus(t, b, c, backendv1.RunStatus_RUN_STATUS_QUEUED)
		require.Equal(t, c.GetRun().GetId(), b.Claim(t, "w2").GetRun().GetId())
	})
	t.Run("running, with a question and its answer under way", func(t *testing.T) {
		b := setup(t)
		c := b.Start(t, "w1")
		open, answered := uuid.NewString(), uuid.NewString()
		b.Append(t, c, backendtest.AgentStarted(1, "agent"), backendtest.Question(2, open, time.Now().Add(time.Hour)), backendtest.Question(3, answered, time.Now().Add(time.Hour)))
		_, err := b.Questions.AnswerUserInputRequest(t.Context(), &backendv1.AnswerUserInputRequestRequest{UserInputRequestId: answered, Answers: backendtest.Answers()})
		require.NoError(t, err)
		abandon(t, b)
		require.Equal(t, backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, awaitStatus(t, b, c, backendv1.RunStatus_RUN_STATUS_FAILED).GetStatusReason())
		list, err := b.Questions.ListUserInputRequests(t.Context(), &backendv1.ListUserInputRequestsRequest{SessionId: c.GetRun().GetSessionId()})
		require.NoError(t, err)
		statuses := map[string]backendv1.UserInputStatus{}
		for _, q := range list.GetUserInputRequests() {
			statuses[q.GetId()] = q.GetStatus()
		}
		require.Equal(t, map[string]backendv1.UserInputStatus{
			open: backendv1.UserInputStatus_USER_INPUT_STATUS_CANCELED, answered: backendv1.UserInputStatus_USER_INPUT_STATUS_ANSWERED,
		}, statuses)
		requireIdle(t, b, c)
		require.Empty(t, sessionOf(t, b, c.GetRun().GetSessionId()).GetActiveRunId())
	})
	t.Run("canceling", func(t *testing.T) {
		b := setup(t)
		c := b.Start(t, "w1")
		b.Cancel(t, c.GetRun().GetId(), "")
		abandon(t, b)
		awaitStatus(t, b, c, backendv1.RunStatus_RUN_STATUS_CANCELED)
		requireIdle(t, b, c)
	})
	t.Run("export pending", func(t *testing.T) {
		b := setup(t)
		c := b.Start(t, "w1")
		b.Append(t, c, backendtest.Finished(1, completed))
		id := c.GetRun().GetSessionId()
		require.Equal(t, export, sessionOf(t, b, id).GetExport().GetStatus())
		_, err := b.Sessions.RetryExport(t.Context(), &backendv1.RetryExportRequest{SessionId: id})
		require.Equal(t, backendv1.ErrorReason_ERROR_REASON_EXPORT_PENDING, rpcerror.Reason(err))
		require.NoError(t, b.Queue.FailOrphanedExports(t.Context()))
		require.Equal(t, export, sessionOf(t, b, id).GetExport().GetStatus(), "its worker may still do it")

		for range 2 { // The second time after RetryExport.
			abandon(t, b)
			s := awaitSession(t, b, id, func(s *backendv1.Session) bool { return s.GetExport().GetStatus() != export })
			require.Equal(t, backendv1.ExportStatus_EXPORT_STATUS_FAILED, s.GetExport().GetStatus())
			require.Contains(t, s.GetExport().GetReason(), `"w1", which has the workspace, was not heard of for 10m0s`)
			requireIdle(t, b, c)
			_, err = b.Sessions.RetryExport(t.Context(), &backendv1.RetryExportRequest{SessionId: id})
			require.NoError(t, err)
		}
		// It comes back, and does what it was asked last.
		_, err = b.Queue.Claim(t.Context(), "w1", 1, nil, backendtest.Lease)
		require.NoError(t, err)
		require.NoError(t, b.Queue.FailOrphanedExports(t.Context()))
		resp, err := b.Queue.ReportExport(t.Context(), &queuev1.ReportExportRequest{
			WorkerId: "w1", SessionId: id, RunId: c.GetRun().GetId(), Status: backendv1.ExportStatus_EXPORT_STATUS_READY,
		})
		require.NoError(t, err)
		require.True(t, resp.GetAccepted())
		requireIdle(t, b, c)
	})
	t.Run("export pending, with a follow-up that another worker takes", func(t *testing.T) {
		b := setup(t)
		c := b.Start(t, "w1")
		b.Append(t, c, backendtest.Finished(1, completed))
		id := c.GetRun().GetSessionId()
		abandon(t, b)
		awaitSession(t, b, id, func(s *backendv1.Session) bool { return s.GetExport().GetStatus() != export })
		_, err := b.Sessions.RetryExport(t.Context(), &backendv1.RetryExportRequest{SessionId: id})
		require.NoError(t, err)
		b.Enqueue(t, id, "go on")
		next := b.Claim(t, "w2")
		_, err = b.Queue.Start(t.Context(), next.GetRun().GetId(), next.GetFencingToken())
		require.NoError(t, err)
		b.Append(t, next, backendtest.Finished(1, completed))
		_, err = b.Queue.ReportExport(t.Context(), &queuev1.ReportExportRequest{
			WorkerId: "w2", SessionId: id, RunId: next.GetRun().GetId(), Status: backendv1.ExportStatus_EXPORT_STATUS_READY,
		})
		require.NoError(t, err)
		requireIdle(t, b, c)
	})
	t.Run("worker that was silent for a month", func(t *testing.T) {
		databaseURL := dbtest.URL(t, url)
		b := backendtest.On(t, databaseURL)
		_, err := b.Pool.Exec(t.Context(), `INSERT INTO workers (id, last_seen) VALUES ('gone', now() - interval '31 days'), ('away', now() - interval '29 days')`)
		require.NoError(t, err)
		backendtest.On(t, databaseURL) // whose sweep looks when it begins
		require.Eventually(t, func() bool {
			var ids string
			require.NoError(t, b.Pool.QueryRow(t.Context(), `SELECT string_agg(id, ' ') FROM workers`).Scan(&ids))
			return ids == "away"
		}, 30*time.Second, 10*time.Millisecond)
	})
	t.Run("a backend that has just come back fails no export", func(t *testing.T) {
		b := setup(t)
		b.Here.Set(0)
		c := b.Start(t, "w1")
		b.Append(t, c, backendtest.Finished(1, completed))
		gone(t, b, "w1")
		require.NoError(t, b.Queue.FailOrphanedExports(t.Context()))
		require.Equal(t, export, sessionOf(t, b, c.GetRun().GetSessionId()).GetExport().GetStatus())
	})
}
