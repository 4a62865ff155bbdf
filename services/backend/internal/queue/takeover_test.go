package queue_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/backend/internal/backendtest"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// gone makes a worker look as if it had been silent for long.
func gone(t *testing.T, b *backendtest.Backend, worker string) {
	t.Helper()
	_, err := b.Pool.Exec(t.Context(), `UPDATE workers SET last_seen = now() - interval '1 hour' WHERE id = $1`, worker)
	require.NoError(t, err)
}

// takeOver lets w2 start the session's next run and returns the claim and the
// code of the notice that says so.
func takeOver(t *testing.T, b *backendtest.Backend, sessionID string) (*queuev1.ClaimedRun, string) {
	t.Helper()
	b.Enqueue(t, sessionID, "more")
	gone(t, b, "w1")
	c := b.Claim(t, "w2")
	_, err := b.Queue.Start(t.Context(), c.GetRun().GetId(), c.GetFencingToken())
	require.NoError(t, err)
	rows, err := b.Pool.Query(t.Context(), `SELECT payload FROM run_events WHERE session_id = $1 AND run_id = $2 ORDER BY seq`, sessionID, c.GetRun().GetId())
	require.NoError(t, err)
	defer rows.Close()
	code := ""
	for rows.Next() {
		var raw []byte
		require.NoError(t, rows.Scan(&raw))
		if notice := unmarshal(t, raw).GetNotice(); notice != nil {
			code = notice.GetCode()
		}
	}
	require.NoError(t, rows.Err())
	return c, code
}

func TestAClaimKnowsWhereTheWorkspaceIs(t *testing.T) {
	b := backendtest.New(t)
	first := b.Enqueue(t, "", "do it")
	c := b.Claim(t, "w0")
	require.Empty(t, c.GetWorkspaceWorkerId(), "a new session")
	_, err := b.Pool.Exec(t.Context(), `UPDATE runs SET lease_expires_at = now() - interval '1 second' WHERE id = $1`, first.GetRunId())
	require.NoError(t, err)

	c = b.Claim(t, "w1")
	require.Empty(t, c.GetWorkspaceWorkerId(), "w0 never started, so it has nothing that counts")
	_, err = b.Queue.Start(t.Context(), c.GetRun().GetId(), c.GetFencingToken())
	require.NoError(t, err)
	b.Append(t, c, backendtest.Finished(1, completed))
	id := first.GetSessionId()
	report := func(worker, key string) (*queuev1.ReportExportResponse, error) {
		return b.Queue.ReportExport(t.Context(), &queuev1.ReportExportRequest{
			WorkerId: worker, SessionId: id, RunId: c.GetRun().GetId(), Status: backendv1.ExportStatus_EXPORT_STATUS_READY, SnapshotKey: key,
		})
	}
	prefix := "private/snapshots/default/" + id + "/"
	_, err = report("w1", "private/snapshots/other/"+id+"/a")
	require.Equal(t, backendv1.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, rpcerror.Reason(err))
	resp, err := report("w0", prefix+"late")
	require.NoError(t, err)
	require.False(t, resp.GetAccepted(), "of a worker that does not have the workspace")
	resp, err = report("w1", prefix+"one")
	require.NoError(t, err)
	require.True(t, resp.GetAccepted())
	require.Empty(t, resp.GetSupersededSnapshotKey())

	second, code := takeOver(t, b, id)
	require.Equal(t, "workspace_restored", code)
	require.Equal(t, "w1", second.GetWorkspaceWorkerId())
	require.Equal(t, prefix+"one", second.GetSnapshotKey())
	b.Append(t, second, backendtest.Finished(1, completed))
	c = second
	resp, err = report("w2", "")
	require.NoError(t, err)
	require.True(t, resp.GetAccepted(), "an export whose snapshot failed")
	_, err = b.Sessions.RetryExport(t.Context(), &backendv1.RetryExportRequest{SessionId: id})
	require.NoError(t, err)
	resp, err = report("w2", prefix+"two")
	require.NoError(t, err)
	require.Equal(t, prefix+"one", resp.GetSupersededSnapshotKey(), "kept until there is another")
}

func TestATakeoverSaysWhatIsLost(t *testing.T) {
	b := backendtest.New(t)
	c := b.Start(t, "w1")
	b.Append(t, c, backendtest.Finished(1, completed))
	_, code := takeOver(t, b, c.GetRun().GetSessionId())
	require.Equal(t, "workspace_restored_older", code)
}

func unmarshal(t *testing.T, raw []byte) *executorv1.RunEventPayload {
	t.Helper()
	var payload executorv1.RunEventPayload
	require.NoError(t, proto.Unmarshal(raw, &payload))
	return &payload
}
