package purge_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/structpb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/backend/internal/backendtest"
	"github.com/poco-ai/poco/services/backend/internal/purge"
	"github.com/poco-ai/poco/services/internal/objectstore"
	"github.com/poco-ai/poco/services/internal/testkit"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The test servers' child processes are waited for as long as the tests run.
		goleak.IgnoreAnyFunction("os/exec.(*Cmd).Wait"),
	)
}

func purger(b *backendtest.Backend, objects purge.Objects, retention time.Duration) *purge.Purger {
	return purge.New(purge.Options{Store: b.Store, Objects: objects, Retention: retention, Interval: time.Hour, Logger: slog.New(slog.DiscardHandler)})
}

// due makes every sweep that waits due now.
func due(t *testing.T, b *backendtest.Backend) {
	t.Helper()
	_, err := b.Pool.Exec(t.Context(), `UPDATE deleted_sessions SET sweep_at = now()`)
	require.NoError(t, err)
}

// put stores an object of each kind that a session has, and returns their keys.
func put(t *testing.T, objects *objectstore.Store, sessionID string) []string {
	t.Helper()
	keys := []string{
		objectstore.WorkspacePrefix(backendtest.User, sessionID) + "files/a/b.txt",
		objectstore.WorkspacePrefix(backendtest.User, sessionID) + "manifest.json",
		objectstore.WorkspacePrefix(backendtest.User, sessionID) + "archive.zip",
		objectstore.WorkspacePrefix(backendtest.User, sessionID) + "tool_results/r/t.txt",
		objectstore.SnapshotPrefix(backendtest.User, sessionID) + "r-1.tar.zst",
		objectstore.SnapshotPrefix(backendtest.User, sessionID) + "r-2.tar.zst",
	}
	for _, key := range keys {
		require.NoError(t, objects.Put(t.Context(), key, "", strings.NewReader("x"), 1))
	}
	return keys
}

func stored(t *testing.T, objects *objectstore.Store) []string {
	t.Helper()
	var keys []string
	require.NoError(t, objects.List(t.Context(), "", func(o objectstore.Object) error {
		keys = append(keys, o.Key)
		return nil
	}))
	return keys
}

// rows counts what any table has of a session, whichever tables there are.
func rows(t *testing.T, b *backendtest.Backend, sessionID, runID string) map[string]int {
	t.Helper()
	found, err := b.Pool.Query(t.Context(), `
		SELECT c.table_name, c.column_name FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
		WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE' AND (c.column_name IN ('session_id', 'run_id') OR c.table_name IN ('sessions', 'runs') AND c.column_name = 'id')`)
	require.NoError(t, err)
	var columns [][2]string
	for found.Next() {
		var table, column string
		require.NoError(t, found.Scan(&table, &column))
		columns = append(columns, [2]string{table, column})
	}
	require.NoError(t, found.Err())
	require.NotEmpty(t, columns)
	counts := make(map[string]int)
	for _, c := range columns {
		id := sessionID
		if c[1] == "run_id" || c[0] == "runs" && c[1] == "id" {
			id = runID
		}
		var n int
		require.NoError(t, b.Pool.QueryRow(t.Context(), `SELECT count(*) FROM "`+c[0]+`" WHERE "`+c[1]+`" = $1`, id).Scan(&n))
		if n > 0 {
			counts[c[0]+"."+c[1]] = n
		}
	}
	return counts
}

// busy starts a run that leaves a row in every table.
func busy(t *testing.T, b *backendtest.Backend) *queuev1.ClaimedRun {
	t.Helper()
	c := b.Start(t, "w1")
	fill(t, b, c)
	return c
}

// fill appends to a run what leaves a row in every table.
func fill(t *testing.T, b *backendtest.Backend, c *queuev1.ClaimedRun) {
	t.Helper()
	input, err := structpb.NewStruct(map[string]any{"command": "ls"})
	require.NoError(t, err)
	b.Append(t, c,
		backendtest.Message(1, &backendv1.ContentBlock{Kind: &backendv1.ContentBlock_ToolUse{ToolUse: &backendv1.ToolUseBlock{Id: "t1", Name: "Bash", Input: input}}}),
		backendtest.Question(2, uuid.NewString(), time.Now().Add(time.Hour)),
		backendtest.Event(3, &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_UsageReported{UsageReported: &backendv1.UsageReported{Usage: &backendv1.Usage{InputTokens: 1}}}}),
	)
}

// A deleted session ends its run, then leaves no row, no object and no part of
// one, whenever they are written; others keep theirs.
func TestADeletedSessionLeavesNothing(t *testing.T) {
	b := backendtest.New(t)
	objects := testkit.ObjectStore(t)
	p := purger(b, objects, 0)
	other, c := busy(t, b), busy(t, b)
	id, run := c.GetRun().GetSessionId(), c.GetRun().GetId()
	kept := put(t, objects, other.GetRun().GetSessionId())
	put(t, objects, id)
	before := rows(t, b, other.GetRun().GetSessionId(), other.GetRun().GetId())

	b.Delete(t, id)
	require.NoError(t, p.Once(t.Context()))
	require.NotEmpty(t, rows(t, b, id, run), "the run's worker still has to be told to stop")
	require.Equal(t, "cancel", kinds(b.Commands(t, "w1")))

	b.Append(t, c, backendtest.Finished(4, backendv1.RunStatus_RUN_STATUS_CANCELED))
	due(t, b)
	require.NoError(t, p.Once(t.Context()))
	require.Equal(t, map[string]int{"deleted_sessions.session_id": 1, "run_commands.session_id": 1}, rows(t, b, id, run))
	require.Equal(t, "delete", kinds(b.Commands(t, "w1")), "the worker is told to forget it")
	require.ElementsMatch(t, kept, stored(t, objects))
	require.Equal(t, before, rows(t, b, other.GetRun().GetSessionId(), other.GetRun().GetId()), "the other session has all it had")

	// A manager that was late.
	put(t, objects, id)
	resp, err := b.Queue.ReportExport(t.Context(), &queuev1.ReportExportRequest{
		WorkerId: "w1", SessionId: id, RunId: run, Status: backendv1.ExportStatus_EXPORT_STATUS_READY,
	})
	require.NoError(t, err)
	require.False(t, resp.GetAccepted())
	require.NoError(t, p.Once(t.Context()), "the report made it due")
	require.ElementsMatch(t, kept, stored(t, objects))

	// One that never says so.
	put(t, objects, id)
	for i := 0; ; i++ {
		require.Less(t, i, 20)
		due(t, b)
		require.NoError(t, p.Once(t.Context()))
		require.ElementsMatch(t, kept, stored(t, objects))
		if rows(t, b, id, run)["deleted_sessions.session_id"] == 0 {
			break
		}
	}
	require.NoError(t, b.Queue.AckCommand(t.Context(), "w1", b.Commands(t, "w1")[0].GetId()))
	require.Empty(t, rows(t, b, id, run))
}

func kinds(commands []*queuev1.RunCommand) string {
	var names []string
	for _, c := range commands {
		m := c.ProtoReflect()
		names = append(names, strings.TrimSuffix(string(m.WhichOneof(m.Descriptor().Oneofs().ByName("kind")).Name()), "_session"))
	}
	return strings.Join(names, " ")
}

// failing is an object store that is away while it says so.
type failing struct {
	purge.Objects
	away atomic.Bool
}

var errAway = errors.New("the object store is away")

func (f *failing) DeletePrefix(ctx context.Context, prefix string) error {
	if f.away.Load() {
		return errAway
	}
	return f.Objects.DeletePrefix(ctx, prefix)
}

// What could not be removed is not forgotten.
func TestThePurgerGoesOnWhereItFailed(t *testing.T) {
	b := backendtest.New(t)
	objects := testkit.ObjectStore(t)
	store := &failing{Objects: objects}
	p := purger(b, store, 0)
	for range 3 {
		id := b.Enqueue(t, "", "x").GetSessionId()
		put(t, objects, id)
		b.Delete(t, id)
	}
	store.away.Store(true)
	err := p.Once(t.Context())
	require.ErrorIs(t, err, errAway)
	require.Equal(t, 3, strings.Count(err.Error(), errAway.Error()), "one holds up no other")
	require.Len(t, stored(t, objects), 18)
	store.away.Store(false)
	due(t, b)
	require.NoError(t, p.Once(t.Context()))
	require.Empty(t, stored(t, objects))
}

// Several backends purge side by side, with more rows than one statement takes.
func TestPurgersSideBySide(t *testing.T) {
	b := backendtest.New(t)
	objects := testkit.ObjectStore(t)
	var ids []string
	for range 8 {
		id := b.Enqueue(t, "", "x").GetSessionId()
		ids = append(ids, id)
		_, err := b.Pool.Exec(t.Context(), `INSERT INTO run_events (session_id, seq, occurred_at, payload, size)
			SELECT $1, n, now(), '', 0 FROM generate_series(1000, 3600) n`, id)
		require.NoError(t, err)
		b.Delete(t, id)
	}
	var work errgroup.Group
	for range 3 {
		work.Go(func() error { return purger(b, objects, 0).Once(t.Context()) })
	}
	require.NoError(t, work.Wait())
	for _, id := range ids {
		require.Equal(t, map[string]int{"deleted_sessions.session_id": 1}, rows(t, b, id, uuid.NewString()))
	}
}

func TestRetention(t *testing.T) {
	b := backendtest.New(t)
	objects := testkit.ObjectStore(t)
	finished := func() string {
		c := b.Start(t, "w1")
		b.Append(t, c, backendtest.Finished(1, backendv1.RunStatus_RUN_STATUS_COMPLETED))
		_, err := b.Queue.ReportExport(t.Context(), &queuev1.ReportExportRequest{
			WorkerId: "w1", SessionId: c.GetRun().GetSessionId(), RunId: c.GetRun().GetId(), Status: backendv1.ExportStatus_EXPORT_STATUS_READY,
		})
		require.NoError(t, err)
		return c.GetRun().GetSessionId()
	}
	young, old, followed := finished(), finished(), finished()
	exporting := b.Start(t, "w1")
	b.Append(t, exporting, backendtest.Finished(1, backendv1.RunStatus_RUN_STATUS_COMPLETED))
	empty, err := b.Sessions.CreateSession(t.Context(), &backendv1.CreateSessionRequest{})
	require.NoError(t, err)
	working := b.Start(t, "w1").GetRun().GetSessionId()
	_, err = b.Pool.Exec(t.Context(), `UPDATE sessions SET idle_since = idle_since - interval '30 days' WHERE id <> $1`, young)
	require.NoError(t, err)
	b.Enqueue(t, followed, "go on")

	require.NoError(t, purger(b, objects, 0).Once(t.Context()))
	list := func() []string {
		got, err := b.Sessions.ListSessions(t.Context(), &backendv1.ListSessionsRequest{})
		require.NoError(t, err)
		var ids []string
		for _, s := range got.GetSessions() {
			ids = append(ids, s.GetId())
		}
		return ids
	}
	require.Len(t, list(), 6, "0 keeps all")
	require.NoError(t, purger(b, objects, 29*24*time.Hour).Once(t.Context()))
	require.ElementsMatch(t, []string{young, followed, working, exporting.GetRun().GetSessionId()}, list(),
		"%s and %s are too old", old, empty.GetSession().GetId())
}

// Snapshots that lost against another one, and uploads nobody finished, go when
// no export can be about them any more; those of unknown sessions stay.
func TestWhatFailedAttemptsLeaveBehind(t *testing.T) {
	b := backendtest.New(t)
	objects := testkit.ObjectStore(t)
	id := b.Enqueue(t, "", "x").GetSessionId()
	keys := put(t, objects, id)
	foreign := put(t, objects, uuid.NewString())
	current := keys[4]
	_, err := b.Pool.Exec(t.Context(), `UPDATE sessions SET snapshot_key = $1 WHERE id = $2`, current, id)
	require.NoError(t, err)
	p := purger(b, objects, 0)
	require.NoError(t, p.Orphans(t.Context(), time.Now().Add(-time.Hour)))
	require.Len(t, stored(t, objects), 12, "all are young")
	require.NoError(t, p.Orphans(t.Context(), time.Now().Add(time.Hour)))
	require.ElementsMatch(t, append(keys[:5:5], foreign...), stored(t, objects))
}
