package growth_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/db/dbtest"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/backend/internal/backendtest"
	"github.com/poco-ai/poco/services/backend/internal/page"
	"github.com/poco-ai/poco/services/backend/internal/purge"
	"github.com/poco-ai/poco/services/backend/internal/queue"
	"github.com/poco-ai/poco/services/backend/internal/run"
	"github.com/poco-ai/poco/services/backend/internal/session"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/backend/internal/task"
	"github.com/poco-ai/poco/services/backend/internal/userinput"
	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/testkit"
)

// statements records what is asked of the database.
type statements struct {
	mu   sync.Mutex
	seen map[string]statement // by name
}

type statement struct {
	SQL  string
	Args []any
}

var statementName = regexp.MustCompile(`^-- name: (\w+)`)

func (s *statements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	s.note(data.SQL, data.Args)
	return ctx
}

func (s *statements) note(sql string, args []any) {
	if name := statementName.FindStringSubmatch(sql); name != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.seen[name[1]] = statement{sql, args}
	}
}

func (s *statements) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return ctx
}

func (s *statements) TraceBatchQuery(_ context.Context, _ *pgx.Conn, data pgx.TraceBatchQueryData) {
	s.note(data.SQL, data.Args)
}

func (s *statements) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

func (s *statements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// populate fills every table that grows, as long use does: nearly all has ended.
const populate = `
INSERT INTO sessions (id, user_id, status, created_at, idle_since, last_seq)
SELECT gen_random_uuid(), 'default', 'completed', now() - n * interval '1 minute', now() - n * interval '1 minute', 10 FROM generate_series(1, 10000) n;
INSERT INTO session_contents (session_id, config) SELECT id, repeat('x', 500)::bytea FROM sessions;
INSERT INTO runs (id, session_id, user_id, status, schedule_mode, scheduled_at, created_at, started_at, finished_at)
SELECT gen_random_uuid(), id, user_id, 'completed', 'immediate', created_at, created_at + n * interval '1 second', now(), now() FROM sessions, generate_series(1, 3) n;
INSERT INTO run_inputs (run_id, prompt, config) SELECT id, repeat('x', 500), '' FROM runs;
INSERT INTO run_events (session_id, seq, run_id, run_seq, occurred_at, payload, size)
SELECT session_id, row_number() OVER (PARTITION BY session_id), id, 1, now(), repeat('x', 500)::bytea, 500 FROM runs;
INSERT INTO messages (session_id, seq, id, size, verbatim_size)
SELECT session_id, seq, gen_random_uuid(), 1, 0 FROM run_events;
INSERT INTO tool_executions (id, session_id, run_id, seq, tool_use_id, tool_name, created_at)
SELECT gen_random_uuid(), session_id, run_id, seq, 't' || seq, 'Bash', now() FROM run_events;
INSERT INTO file_diffs (session_id, hash, diff) SELECT session_id, sha256(seq::text::bytea), repeat('x', 500) FROM run_events;
INSERT INTO attachments (session_id, object_key) SELECT session_id, 'attachments/default/' || session_id || seq FROM run_events;
INSERT INTO usage (run_id, attempt, session_id, total_cost_usd, input_tokens, output_tokens, detail) SELECT id, 1, session_id, 0, 0, 0, '' FROM runs;
INSERT INTO user_input_requests (id, session_id, run_id, user_id, tool_name, request, status, expires_at, created_at)
SELECT gen_random_uuid(), session_id, id, user_id, 'Ask', repeat('x', 500)::bytea, 'answered', now(), created_at FROM runs;
INSERT INTO deleted_sessions (session_id, user_id, sweep_at) SELECT gen_random_uuid(), 'default', now() + interval '1 day' FROM generate_series(1, 4000);`

// Every list, claim, append and purge finds its rows by an index: none reads a
// table that grows from end to end, or sorts more than a page.
func TestAnIndexIsBehindEveryStatement(t *testing.T) {
	url := dbtest.URL(t, testkit.Postgres(t))
	b := backendtest.On(t, url)
	_, err := b.Pool.Exec(t.Context(), populate)
	require.NoError(t, err)
	traced, seen := tracedBackend(t, b)

	// A session that did everything, and more that wait.
	c := traced.Start(t, "w1")
	id, runID := c.GetRun().GetSessionId(), c.GetRun().GetId()
	traced.Append(t, c,
		backendtest.Message(1, &backendv1.ContentBlock{Kind: &backendv1.ContentBlock_ToolUse{ToolUse: &backendv1.ToolUseBlock{Id: "t", Name: "Bash"}}}),
		backendtest.Question(2, uuid.NewString(), time.Now().Add(time.Hour)),
		backendtest.Event(3, &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_FilesChanged{FilesChanged: &backendv1.FilesChanged{
			Files: []*backendv1.FileChange{{Path: "a", Diff: strings.Repeat("+", 1000)}},
		}}}))
	_, err = b.Pool.Exec(t.Context(), `ANALYZE`)
	require.NoError(t, err)
	user := backendtest.User
	for name, call := range map[string]func() error{
		"sessions": func() error {
			_, err := traced.Sessions.ListSessions(auth.WithUser(t.Context(), user), &backendv1.ListSessionsRequest{View: backendv1.SessionView_SESSION_VIEW_FULL})
			return err
		},
		"of project": func() error {
			_, err := traced.Sessions.ListSessions(auth.WithUser(t.Context(), user), &backendv1.ListSessionsRequest{ProjectId: uuid.NewString()})
			return err
		},
		"runs": func() error {
			_, err := traced.Runs.ListRuns(auth.WithUser(t.Context(), user), &backendv1.ListRunsRequest{})
			return err
		},
		"runs of session": func() error {
			_, err := traced.Runs.ListRuns(auth.WithUser(t.Context(), user), &backendv1.ListRunsRequest{SessionId: id})
			return err
		},
		"changes": func() error {
			_, err := traced.Runs.ListFileChanges(auth.WithUser(t.Context(), user), &backendv1.ListFileChangesRequest{RunId: runID})
			return err
		},
		"messages": func() error {
			_, err := traced.Sessions.ListMessages(auth.WithUser(t.Context(), user), &backendv1.ListMessagesRequest{SessionId: id})
			return err
		},
		"tools": func() error {
			_, err := traced.Sessions.ListToolExecutions(auth.WithUser(t.Context(), user), &backendv1.ListToolExecutionsRequest{SessionId: id})
			return err
		},
		"usage": func() error {
			_, err := traced.Sessions.GetUsage(auth.WithUser(t.Context(), user), &backendv1.GetUsageRequest{SessionId: id})
			return err
		},
		"questions": func() error {
			_, err := traced.Questions.ListUserInputRequests(auth.WithUser(t.Context(), user), &backendv1.ListUserInputRequestsRequest{})
			return err
		},
		"questions of session": func() error {
			_, err := traced.Questions.ListUserInputRequests(auth.WithUser(t.Context(), user), &backendv1.ListUserInputRequestsRequest{SessionId: id})
			return err
		},
		"pending exports": func() error { _, err := traced.Queue.PendingExports(t.Context(), "w1"); return err },
		"leases":          func() error { return traced.Queue.ExpireLeases(t.Context()) },
		"claim":           func() error { _, err := traced.Queue.Claim(t.Context(), "w2", 10, nil, backendtest.Lease); return err },
	} {
		require.NoError(t, call(), name)
	}
	_, err = traced.Queue.Adopt(t.Context(), "w1", backendtest.Lease)
	require.NoError(t, err)
	_, err = traced.Sessions.DeleteSession(auth.WithUser(t.Context(), user), &backendv1.DeleteSessionRequest{SessionId: traced.Enqueue(t, "", "x").GetSessionId()})
	require.NoError(t, err)
	require.NoError(t, purge.New(purge.Options{
		Store: traced.Store, Objects: testkit.ObjectStore(t), Retention: 100 * 24 * time.Hour, Logger: slog.New(slog.DiscardHandler),
	}).Once(t.Context()))

	require.Greater(t, len(seen.seen), 40, "it sees what is asked")
	for name, q := range seen.seen {
		for _, node := range plan(t, url, q) {
			assert.False(t, node.Type == "Seq Scan" && node.scanned > 1000, "%s reads all of %s", name, node.Relation)
			assert.False(t, node.Type == "Sort" && node.Plans[0].Rows > 1000, "%s sorts %v rows", name, node.Rows)
		}
	}
}

// A claim of a run that goes on reads what that run has reported, however long
// the session is.
func TestAClaimReadsTheMessagesOfItsRun(t *testing.T) {
	const before = 20_000
	url := dbtest.URL(t, testkit.Postgres(t))
	b := backendtest.On(t, url)
	first := b.Start(t, "w1")
	id := first.GetRun().GetSessionId()
	b.Append(t, first, backendtest.Finished(1, backendv1.RunStatus_RUN_STATUS_COMPLETED))
	_, err := b.Pool.Exec(t.Context(), `
WITH event AS (
    INSERT INTO run_events (session_id, seq, run_id, run_seq, occurred_at, payload, size)
    SELECT $1, last_seq + n, $2, n + 1, now(), '', 0 FROM sessions, generate_series(1, $3::int) n WHERE id = $1
    RETURNING session_id, seq, run_id
), message AS (
    INSERT INTO messages (session_id, seq, id, size, verbatim_size)
    SELECT session_id, seq, gen_random_uuid(), 0, 0 FROM event
)
UPDATE sessions SET last_seq = last_seq + $3::int WHERE id = $1`, id, first.GetRun().GetId(), before)
	require.NoError(t, err)
	b.Enqueue(t, id, "more")
	c := b.Claim(t, "w1")
	_, err = b.Queue.Start(t.Context(), c.GetRun().GetId(), c.GetFencingToken())
	require.NoError(t, err)
	said := []*executorv1.RunEvent{backendtest.Text(1, "one"), backendtest.Text(2, "two")}
	b.Append(t, c, said...)
	_, err = b.Pool.Exec(t.Context(), `UPDATE runs SET lease_expires_at = now() - interval '1 second' WHERE id = $1`, c.GetRun().GetId())
	require.NoError(t, err)
	_, err = b.Pool.Exec(t.Context(), `ANALYZE`)
	require.NoError(t, err)

	traced, seen := tracedBackend(t, b)
	again := traced.Claim(t, "w1")
	require.Equal(t, c.GetRun().GetId(), again.GetRun().GetId())
	var ids, texts []string
	for _, e := range said {
		ids = append(ids, e.GetPayload().GetMessageAdded().GetMessageId())
		texts = append(texts, e.GetPayload().GetMessageAdded().GetVerbatimJson())
	}
	require.ElementsMatch(t, ids, again.GetReportedMessageIds())
	require.Equal(t, texts, again.GetLatestMessages())
	for _, name := range []string{"MessageIDsOfRun", "MessageLatestOfRun"} {
		require.Contains(t, seen.seen, name)
		for _, node := range plan(t, url, seen.seen[name], "ANALYZE") {
			assert.Less(t, node.ActualRows+node.Removed, 100.0, "%s reads the whole session in %s", name, node.Relation)
		}
	}
}

// A claim reads nothing of what waits in a session that works.
func TestAClaimPassesOverABusySession(t *testing.T) {
	url := dbtest.URL(t, testkit.Postgres(t))
	b := backendtest.On(t, url)
	busy := b.Start(t, "w1").GetRun().GetSessionId()
	_, err := b.Pool.Exec(t.Context(), `
WITH queued AS (
    INSERT INTO runs (id, session_id, user_id, schedule_mode, scheduled_at)
    SELECT gen_random_uuid(), id, user_id, 'immediate', now() - interval '1 hour' FROM sessions, generate_series(1, 2000) WHERE id = $1
)
UPDATE sessions SET queued_runs = 2000 WHERE id = $1`, busy)
	require.NoError(t, err)
	next := b.Enqueue(t, "", "x")
	_, err = b.Pool.Exec(t.Context(), `ANALYZE`)
	require.NoError(t, err)

	traced, seen := tracedBackend(t, b)
	require.Equal(t, next.GetRunId(), traced.Claim(t, "w1").GetRun().GetId())
	for _, name := range []string{"SessionLockClaimable", "RunClaim"} {
		for _, node := range plan(t, url, seen.seen[name], "ANALYZE") {
			assert.Less(t, node.ActualRows+node.Removed, 100.0, "%s reads the queue of the busy session in %s", name, node.Relation)
		}
	}
}

// tracedBackend is a backend whose statements are seen.
func tracedBackend(t *testing.T, b *backendtest.Backend) (*backendtest.Backend, *statements) {
	t.Helper()
	seen := &statements{seen: make(map[string]statement)}
	cfg := b.Pool.Config()
	cfg.ConnConfig.Tracer = seen
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	traced := *b
	tokens := page.NewTokens(config.NewSecret("test"))
	traced.Store = store.New(pool, b.Bus)
	traced.Queue = queue.New(traced.Store, b.Bus, slog.New(slog.DiscardHandler), queue.Timing{UserInput: time.Hour, WorkerGone: 10 * time.Minute}, b.Here)
	traced.Tasks = task.New(traced.Store, traced.Queue.SweepBy)
	traced.Runs, traced.Sessions, traced.Questions = run.New(traced.Store, tokens), session.New(traced.Store, tokens, nil, b.Bus, b.Feeds), userinput.New(traced.Store, tokens)
	return &traced, seen
}

// node is a step of a plan.
type node struct {
	Type     string  `json:"Node Type"`
	Relation string  `json:"Relation Name"`
	Rows     float64 `json:"Plan Rows"`
	// Of each of its loops, when the statement was executed.
	ActualRows float64 `json:"Actual Rows"`
	Removed    float64 `json:"Rows Removed by Filter"`
	Plans      []node
	scanned    float64
}

// plan returns all steps of a statement's plan, with more options of EXPLAIN.
func plan(t *testing.T, url string, q statement, options ...string) []node {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	var raw []byte
	require.NoError(t, conn.QueryRow(t.Context(), "EXPLAIN ("+strings.Join(append(options, "FORMAT JSON"), ", ")+") "+q.SQL, q.Args...).Scan(&raw), q.SQL)
	var tops []struct{ Plan node }
	require.NoError(t, json.Unmarshal(raw, &tops))
	var all []node
	var visit func(node)
	visit = func(n node) {
		if n.Relation != "" {
			require.NoError(t, conn.QueryRow(t.Context(), fmt.Sprintf(`SELECT reltuples FROM pg_class WHERE relname = '%s'`, n.Relation)).Scan(&n.scanned))
		}
		all = append(all, n)
		for _, below := range n.Plans {
			visit(below)
		}
	}
	visit(tops[0].Plan)
	return all
}
