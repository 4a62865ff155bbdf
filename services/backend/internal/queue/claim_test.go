package queue_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/poco-ai/poco/db/dbtype"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/backend/internal/backendtest"
	"github.com/poco-ai/poco/services/backend/internal/hint"
	"github.com/poco-ai/poco/services/backend/internal/queue"
	"github.com/poco-ai/poco/services/backend/internal/run"
	"github.com/poco-ai/poco/services/backend/internal/store"
)

const completed = backendv1.RunStatus_RUN_STATUS_COMPLETED

func TestBatchClaimTakesOneRunOfEachSession(t *testing.T) {
	b := backendtest.New(t)
	first := b.Enqueue(t, "", "one")
	b.Enqueue(t, first.GetSessionId(), "two")
	other := b.Enqueue(t, "", "three")

	runs, err := b.Queue.Claim(t.Context(), "w1", 10, nil, backendtest.Lease)
	require.NoError(t, err)
	require.Len(t, runs, 2, "one of each session")
	require.Equal(t, first.GetRunId(), runs[0].GetRun().GetId(), "oldest first")
	require.Equal(t, other.GetRunId(), runs[1].GetRun().GetId())

	again, err := b.Queue.Claim(t.Context(), "w2", 10, nil, backendtest.Lease)
	require.NoError(t, err)
	require.Empty(t, again, "the second run waits for the first")
}

// What a session's row keeps of its runs and questions, so that a claim and the end
// of a run need not look, is what they say, whatever happens.
func TestASessionKnowsItsRunsAndQuestions(t *testing.T) {
	b := backendtest.New(t)
	check := func(after string) {
		t.Helper()
		var wrong []string
		require.NoError(t, b.Pool.QueryRow(t.Context(), `
			SELECT array_agg(format('%s claimable %s open %s', s.id, s.claimable_at, s.open_questions)) FROM sessions s
			WHERE s.claimable_at IS DISTINCT FROM (SELECT min(r.scheduled_at) FROM runs r
				WHERE r.session_id = s.id AND r.status = 'queued' AND s.active_run_id IS NULL AND s.deleted_at IS NULL)
			OR s.open_questions <> (SELECT count(*) FROM user_input_requests u WHERE u.session_id = s.id AND u.status = 'pending')`).Scan(&wrong))
		require.Empty(t, wrong, after)
	}
	first := b.Enqueue(t, "", "one")
	check("a run was queued")
	later, err := b.Tasks.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{
		Prompt: "later", SessionId: first.GetSessionId(), ScheduledAt: timestamppb.New(time.Now().Add(time.Hour)),
	})
	require.NoError(t, err)
	b.Enqueue(t, first.GetSessionId(), "two")
	check("more were queued")
	c := b.Claim(t, "w1")
	check("the first was claimed")
	require.NoError(t, b.Queue.Release(t.Context(), []*queuev1.Lease{{RunId: c.GetRun().GetId(), FencingToken: c.GetFencingToken()}}))
	check("it was given back")
	c = b.Claim(t, "w1")
	_, err = b.Queue.Start(t.Context(), c.GetRun().GetId(), c.GetFencingToken())
	require.NoError(t, err)
	question := backendtest.Question(1, "q", time.Now().Add(time.Hour))
	b.Append(t, c, question)
	check("it asked")
	b.Append(t, c, backendtest.Question(2, "q", time.Now().Add(time.Hour)), backendtest.Finished(3, completed))
	check("it ended with its question open, asked twice")
	b.Cancel(t, later.GetRunId(), "")
	check("the one for later was canceled")
	c = b.Claim(t, "w1")
	_, err = b.Queue.Finish(t.Context(), c.GetRun().GetId(), c.GetFencingToken(), run.Outcome{Status: dbtype.RunFailed})
	require.NoError(t, err)
	check("the last one failed")
	b.Enqueue(t, first.GetSessionId(), "three")
	_, err = b.Sessions.UpdateSession(t.Context(), &backendv1.UpdateSessionRequest{SessionId: first.GetSessionId(), Title: proto.String("new"), UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"title"}}})
	require.NoError(t, err)
	check("the session was renamed")
	_, err = b.Sessions.DeleteSession(t.Context(), &backendv1.DeleteSessionRequest{SessionId: first.GetSessionId()})
	require.NoError(t, err)
	check("the session was deleted")
}

// Two workers, 200 runs over 50 sessions: each run exactly once, never two at a
// time in one session, oldest first within a session.
func TestTwoClaimersOnOneQueue(t *testing.T) {
	b := backendtest.New(t)
	const sessions, perSession = 50, 4
	want := make(map[string][]string) // session -> runs in order
	var ids []string
	for i := range sessions {
		e := b.Enqueue(t, "", fmt.Sprint("session ", i))
		ids = append(ids, e.GetSessionId())
		want[e.GetSessionId()] = []string{e.GetRunId()}
	}
	for n := 1; n < perSession; n++ {
		for _, id := range ids {
			want[id] = append(want[id], b.Enqueue(t, id, fmt.Sprint("follow-up ", n)).GetRunId())
		}
	}

	var mu sync.Mutex
	got := make(map[string][]string)
	active := make(map[string]string)
	done := 0
	var g errgroup.Group
	for w := range 2 {
		// Sessions keep to the worker that had them first, so each worker goes on
		// until all runs are done, woken by the queue's signal.
		g.Go(func() error {
			worker := fmt.Sprint("w", w)
			hints := b.Bus.Subscribe(hint.Queue())
			defer hints.Close()
			for {
				runs, err := b.Queue.Claim(t.Context(), worker, 3, nil, backendtest.Lease)
				if err != nil {
					return err
				}
				for _, c := range runs {
					r := c.GetRun()
					mu.Lock()
					if other := active[r.GetSessionId()]; other != "" {
						mu.Unlock()
						return fmt.Errorf("runs %s and %s of one session at once", other, r.GetId())
					}
					active[r.GetSessionId()] = r.GetId()
					got[r.GetSessionId()] = append(got[r.GetSessionId()], r.GetId())
					mu.Unlock()
				}
				for _, c := range runs {
					r := c.GetRun()
					if _, err := b.Queue.Start(t.Context(), r.GetId(), c.GetFencingToken()); err != nil {
						return err
					}
					mu.Lock()
					delete(active, r.GetSessionId())
					done++
					mu.Unlock()
					_, err := b.Queue.Append(t.Context(), r.GetId(), c.GetFencingToken(), 0, []*executorv1.RunEvent{
						backendtest.Text(1, "hello"), backendtest.Finished(2, completed),
					}, nil)
					if err != nil {
						return err
					}
				}
				mu.Lock()
				finished := done == sessions*perSession
				mu.Unlock()
				if finished {
					b.Store.NotifyQueue()
					return nil
				}
				if len(runs) == 0 {
					select {
					case <-hints.Ready():
					case <-t.Context().Done():
						return t.Context().Err()
					}
				}
			}
		})
	}
	require.NoError(t, g.Wait())
	require.Equal(t, want, got)
}

// atEnd calls a function at the end of a transaction's statement of a name, once.
type atEnd struct {
	statement string
	once      sync.Once
	do        func()
}

func (*atEnd) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (*atEnd) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (*atEnd) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return ctx
}

func (a *atEnd) TraceBatchQuery(_ context.Context, _ *pgx.Conn, data pgx.TraceBatchQueryData) {
	if strings.HasPrefix(data.SQL, "-- name: "+a.statement+" ") {
		a.once.Do(a.do)
	}
}

func (*atEnd) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

// A claim passes over a session that another transaction has locked, and tests
// that expect a run wait for it: the sweep may look at the same lease.
func TestAClaimBesideATransactionOfItsSession(t *testing.T) {
	b := backendtest.New(t)
	e := b.Enqueue(t, "", "x")
	tx, err := b.Pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `SELECT FROM sessions WHERE id = $1 FOR UPDATE`, e.GetSessionId())
	require.NoError(t, err)
	runs, err := b.Queue.Claim(t.Context(), "w1", 1, nil, backendtest.Lease)
	require.NoError(t, err)
	require.Empty(t, runs)

	cfg := b.Pool.Config()
	cfg.ConnConfig.Tracer = &atEnd{statement: "SessionLockClaimable", do: func() { assert.NoError(t, tx.Rollback(t.Context())) }}
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	b.Queue = queue.New(store.New(pool, b.Bus), b.Bus, slog.New(slog.DiscardHandler), queue.Timing{WorkerGone: time.Minute}, b.Here)
	require.Equal(t, e.GetRunId(), b.Claim(t, "w1").GetRun().GetId())
}

func TestAffinityKeepsASessionWithItsWorker(t *testing.T) {
	b := backendtest.New(t)
	c := b.Start(t, "w1")
	b.Append(t, c, backendtest.Finished(1, completed))
	b.Enqueue(t, c.GetRun().GetSessionId(), "more")

	runs, err := b.Queue.Claim(t.Context(), "w2", 1, nil, backendtest.Lease)
	require.NoError(t, err)
	require.Empty(t, runs, "w1 has the workspace")

	_, err = b.Pool.Exec(t.Context(), `UPDATE workers SET last_seen = now() - interval '1 hour' WHERE id = 'w1'`)
	require.NoError(t, err)
	b.Claim(t, "w2") // w1 is gone for good
}

func TestScheduledRunWakesClaimersWhenDue(t *testing.T) {
	b := backendtest.New(t)
	e, err := b.Tasks.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{
		Prompt: "later", ScheduledAt: timestamppb.New(time.Now().Add(300 * time.Millisecond)),
	})
	require.NoError(t, err)
	runs, err := b.Queue.Claim(t.Context(), "w1", 1, nil, backendtest.Lease)
	require.NoError(t, err)
	require.Empty(t, runs)
	hints := b.Bus.Subscribe(hint.Queue())
	defer hints.Close()
	for len(runs) == 0 {
		runs, err = b.Queue.Claim(t.Context(), "w1", 1, nil, backendtest.Lease)
		require.NoError(t, err)
		if len(runs) == 0 {
			select {
			case <-hints.Ready():
			case <-t.Context().Done():
				t.Fatal("nobody said that the run is due")
			}
		}
	}
	require.Equal(t, e.GetRunId(), runs[0].GetRun().GetId())
}
