package contracttest

import (
	"context"

	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/internal/objectstore"
)

// report reports a run's export with a snapshot of a name.
func (r *run) report(worker, snapshot string) (*queuev1.ReportExportResponse, error) {
	return r.ReportExport(r.t.Context(), &queuev1.ReportExportRequest{
		WorkerId: worker, SessionId: r.session, RunId: r.id, Status: backendv1.ExportStatus_EXPORT_STATUS_READY, SnapshotKey: r.key(snapshot),
	})
}

func (r *run) key(snapshot string) string {
	return objectstore.SnapshotPrefix("default", r.session) + snapshot
}

// reports requires that a report is accepted, in the place of a snapshot.
func (r *run) reports(snapshot, superseded string) {
	r.t.Helper()
	resp, err := r.report("w1", snapshot)
	require.NoError(r.t, err)
	require.True(r.t, resp.GetAccepted())
	require.Equal(r.t, superseded, resp.GetSupersededSnapshotKey())
}

// pending are the runs whose exports a worker has to make.
func (f *fixture) pending(worker string) []string {
	f.t.Helper()
	resp, err := f.ListPendingExports(f.t.Context(), &queuev1.ListPendingExportsRequest{WorkerId: worker})
	require.NoError(f.t, err)
	var runs []string
	for _, e := range resp.GetExports() {
		require.NotEmpty(f.t, e.GetSessionId())
		require.Equal(f.t, "default", e.GetUserId())
		runs = append(runs, e.GetRunId())
	}
	return runs
}

var exporting = map[string]func(*fixture){
	"is pending at who has the workspace, once": func(f *fixture) {
		r := f.completed()
		require.Equal(f.t, []string{r.id}, f.pending("w1"))
		require.Empty(f.t, f.pending("w2"))
		r.reports("one", "")
		require.Empty(f.t, f.pending("w1"))
		resp, err := r.report("w1", "two")
		require.NoError(f.t, err)
		require.False(f.t, resp.GetAccepted())
		require.Equal(f.t, r.key("one"), f.enqueueIn(r.session, nil).claimedBy("w1").claim.GetSnapshotKey())
	},
	"is superseded by a later run's": func(f *fixture) {
		first := f.completed()
		first.reports("one", "")
		second := f.enqueueIn(first.session, nil).claimedBy("w1").begin()
		second.appends(end(1, completed, 0))
		third := f.enqueueIn(first.session, nil).claimedBy("w1").begin()
		require.Empty(f.t, f.pending("w1"), "while a run is active")
		third.appends(end(1, completed, 0))
		require.Equal(f.t, []string{third.id}, f.pending("w1"))
		resp, err := second.report("w1", "two")
		require.NoError(f.t, err)
		require.False(f.t, resp.GetAccepted())
		third.reports("three", first.key("one"))
	},
	"is not accepted": func(f *fixture) {
		deleted, lost := f.completed(), f.lost()
		f.Delete(f.t, deleted.session)
		for name, c := range map[string]struct {
			run    *run
			worker string
		}{
			"of another worker":       {f.completed(), "w2"},
			"of an unknown session":   {f.unknown(), "w1"},
			"of a deleted session":    {deleted, "w1"},
			"of a run that goes on":   {f.running(), "w1"},
			"of one that never began": {f.failed(), "w1"},
			"of one that was lost":    {lost, "w1"},
		} {
			resp, err := c.run.report(c.worker, "one")
			require.NoError(f.t, err, name)
			require.False(f.t, resp.GetAccepted(), name)
		}
	},
	"refuses keys of others": func(f *fixture) {
		r := f.completed()
		for name, report := range map[string]*queuev1.ReportExportRequest{
			"snapshot": {SnapshotKey: objectstore.SnapshotPrefix("default", "other") + "x"},
			"manifest": {ManifestKey: "manifest.json"},
			"archive":  {ArchiveKey: "archive.zip"},
			"files":    {FilesPrefix: "files/"},
		} {
			report.WorkerId, report.SessionId, report.RunId, report.Status = "w1", r.session, r.id, backendv1.ExportStatus_EXPORT_STATUS_READY
			require.Equal(f.t, invalid, refusalOf(errOf(f.ReportExport(f.t.Context(), report))), name)
		}
		r.reports("one", "")
	},
}

// commands returns what "w1" is told next, call by call.
func (f *fixture) commands() (next func() *queuev1.RunCommand, stop context.CancelFunc) {
	ctx, cancel := context.WithCancel(f.t.Context())
	stream, err := f.WatchRunCommands(ctx, &queuev1.WatchRunCommandsRequest{WorkerId: "w1"})
	require.NoError(f.t, err)
	begun, err := stream.Recv()
	require.NoError(f.t, err)
	require.Nil(f.t, begun.GetCommand(), "a watch begins with a heartbeat, also where a command waits")
	return func() *queuev1.RunCommand {
		f.t.Helper()
		for {
			m, err := stream.Recv()
			require.NoError(f.t, err)
			if m.GetCommand() != nil { // and no heartbeat
				return m.GetCommand()
			}
		}
	}, cancel
}

func (f *fixture) ack(worker string, cmd *queuev1.RunCommand) {
	f.t.Helper()
	_, err := f.AckRunCommand(f.t.Context(), &queuev1.AckRunCommandRequest{WorkerId: worker, CommandId: cmd.GetId()})
	require.NoError(f.t, err)
}

var streaming = map[string]func(*fixture){
	"hint at runs": func(f *fixture) {
		stream, err := f.WatchQueue(f.t.Context(), &queuev1.WatchQueueRequest{WorkerId: "w1"})
		require.NoError(f.t, err)
		for range 2 {
			_, err = stream.Recv() // the first comes at once
			require.NoError(f.t, err)
			f.enqueue(nil)
		}
	},
	"tell each worker its commands until they are acknowledged": func(f *fixture) {
		r, other := f.running(), f.enqueue(nil).claimedBy("w2")
		next, stop := f.commands()
		other.cancel()
		r.cancel()
		cmd := next()
		require.Equal(f.t, r.id, cmd.GetRunId())
		require.Equal(f.t, r.session, cmd.GetSessionId())
		require.Equal(f.t, "default", cmd.GetUserId())
		require.Equal(f.t, "enough", cmd.GetCancel().GetReason())
		stop()

		f.ack("w2", cmd) // which is not w2's
		next, stop = f.commands()
		require.Equal(f.t, cmd.GetId(), next().GetId())
		stop()

		f.ack("w1", cmd)
		f.ack("w1", cmd)
		later := f.running().cancel()
		next, stop = f.commands()
		defer stop()
		require.Equal(f.t, later.id, next().GetRunId())
	},
	"tell nothing of a run that has ended": func(f *fixture) {
		f.canceled()
		later := f.canceling()
		next, stop := f.commands()
		defer stop()
		require.Equal(f.t, later.id, next().GetRunId())
	},
}
