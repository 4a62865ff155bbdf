package app_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/connect/v2/connectproto"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"github.com/poco-ai/poco/db/dbtest"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/gen/go/poco/backend/v1/backendv1connect"
	"github.com/poco-ai/poco/services/internal/embedded"
	"github.com/poco-ai/poco/services/internal/testkit"
)

// requireUnavailable checks that an error says that trying again may help, and
// when.
func requireUnavailable(t *testing.T, err error) {
	t.Helper()
	require.Equal(t, connect.CodeUnavailable, connect.CodeOf(err), "%v", err)
	failure, ok := errors.AsType[*connect.Error](err)
	require.True(t, ok)
	retry := false
	for _, d := range failure.Details() {
		m, err := connectproto.UnmarshalErrorDetail(d)
		require.NoError(t, err)
		if info, ok := m.(*errdetails.RetryInfo); ok {
			retry = info.GetRetryDelay().AsDuration() > 0
		}
	}
	require.True(t, retry, "it does not say when to try again")
	require.NotContains(t, err.Error(), "127.0.0.1")
}

func readiness(t *testing.T, b *backend) int {
	t.Helper()
	resp, err := http.Get(b.url + "/readyz")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode
}

func awaitReadiness(t *testing.T, b *backend, code int) {
	t.Helper()
	require.Eventually(t, func() bool { return readiness(t, b) == code }, 30*time.Second, 50*time.Millisecond)
}

func TestCallsWhilePostgresIsAway(t *testing.T) {
	server, opts := testkit.OwnPostgres(t)
	b := start(t, dbtest.Empty(t, server.URL()))
	client := connect.NewClient(connecthttp.NewTransport(httpClient(t), b.url))
	tasks, sessions := backendv1connect.NewTaskServiceClient(client), backendv1connect.NewSessionServiceClient(client)
	task, err := tasks.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{Prompt: "x"})
	require.NoError(t, err)
	require.NoError(t, server.Crash())
	for range 5 {
		_, err = tasks.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{Prompt: "x"})
		requireUnavailable(t, err)
		_, err = sessions.GetSession(t.Context(), &backendv1.GetSessionRequest{SessionId: task.GetSessionId()})
		requireUnavailable(t, err)
	}
	require.Equal(t, http.StatusServiceUnavailable, readiness(t, b))

	again, err := embedded.StartPostgres(t.Context(), opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, again.Stop(context.Background())) })
	awaitReadiness(t, b, http.StatusOK)
	_, err = tasks.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{Prompt: "x"})
	require.NoError(t, err)
	require.NoError(t, b.stop())
}

// limited makes a role that may have only so many connections, and returns the
// database's URL for it.
func limited(t *testing.T, databaseURL string, connections int) (roleURL string, raise func()) {
	t.Helper()
	u, err := url.Parse(databaseURL)
	require.NoError(t, err)
	role := "limited_" + u.Path[len(u.Path)-8:]
	execute := func(statement string) {
		t.Helper()
		conn, err := pgx.Connect(context.Background(), databaseURL)
		require.NoError(t, err)
		_, err = conn.Exec(context.Background(), statement)
		require.NoError(t, err)
		require.NoError(t, conn.Close(context.Background()))
	}
	execute(fmt.Sprintf("CREATE ROLE %q LOGIN PASSWORD 'x' CONNECTION LIMIT %d", role, connections))
	execute(fmt.Sprintf("GRANT ALL ON ALL TABLES IN SCHEMA public TO %q; GRANT ALL ON SCHEMA public TO %q", role, role))
	t.Cleanup(func() { execute(fmt.Sprintf("DROP OWNED BY %q; DROP ROLE %q", role, role)) })
	limitedURL := *u
	limitedURL.User = url.UserPassword(role, "x")
	return limitedURL.String(), func() { execute(fmt.Sprintf("ALTER ROLE %q CONNECTION LIMIT -1", role)) }
}

// Postgres has no connections left, though the pool has some.
func TestCallsWithoutConnections(t *testing.T) {
	roleURL, raise := limited(t, dbtest.URL(t, testkit.Postgres(t)), 3)
	b := start(t, roleURL)
	client := connect.NewClient(connecthttp.NewTransport(httpClient(t), b.url))
	tasks := backendv1connect.NewTaskServiceClient(client)
	storm := func() (failures []error) {
		var mu sync.Mutex
		var calls sync.WaitGroup
		for range 30 {
			calls.Go(func() {
				_, err := tasks.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{Prompt: "x"})
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					failures = append(failures, err)
				}
			})
		}
		calls.Wait()
		return failures
	}
	var failed []error
	for len(failed) < 5 {
		failed = append(failed, storm()...)
	}
	for _, err := range failed {
		requireUnavailable(t, err)
	}
	require.Equal(t, http.StatusServiceUnavailable, readiness(t, b), "most calls fail")
	raise()
	awaitReadiness(t, b, http.StatusOK)
	require.Empty(t, storm())
	require.NoError(t, b.stop())
}

// A server that takes no writes is not ready.
func TestAReadOnlyDatabaseIsNotReady(t *testing.T) {
	databaseURL := dbtest.URL(t, testkit.Postgres(t))
	b := start(t, databaseURL)
	conn, err := pgx.Connect(t.Context(), databaseURL)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$`)
	require.NoError(t, err)
	// Sessions keep their settings; they are made anew.
	_, err = conn.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))
	awaitReadiness(t, b, http.StatusServiceUnavailable)
	client := connect.NewClient(connecthttp.NewTransport(httpClient(t), b.url))
	_, err = backendv1connect.NewTaskServiceClient(client).EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{Prompt: "x"})
	requireUnavailable(t, err)
}

func TestBehindAPooler(t *testing.T) {
	const refusal = "pool_mode = session"
	for _, mode := range []string{"transaction", "statement"} {
		t.Run(mode+" mode is refused", func(t *testing.T) {
			pooler := testkit.NewPgBouncer(t, dbtest.URL(t, testkit.Postgres(t)))
			pooler.Start(mode, 20)
			b := launch(t, pooler.URL())
			err := <-b.done
			b.stopped = true
			require.ErrorContains(t, err, "DATABASE_URL")
			require.ErrorContains(t, err, refusal)
		})
	}
	t.Run("session mode works, until it is changed", func(t *testing.T) {
		pooler := testkit.NewPgBouncer(t, dbtest.URL(t, testkit.Postgres(t)))
		pooler.Start("session", 30)
		b := start(t, pooler.URL())
		client := connect.NewClient(connecthttp.NewTransport(httpClient(t), b.url))
		var calls sync.WaitGroup
		for range 60 {
			calls.Go(func() {
				_, err := backendv1connect.NewTaskServiceClient(client).EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{Prompt: "x"})
				if err != nil {
					t.Error(err)
				}
			})
		}
		calls.Wait()
		pooler.Stop()
		pooler.Start("transaction", 30)
		err := <-b.done
		b.stopped = true
		require.ErrorContains(t, err, "DATABASE_URL")
		require.ErrorContains(t, err, refusal)
	})
}

// A backend works on the schema that it knows, or says what to do.
func TestASchemaOfAnotherVersionIsRefused(t *testing.T) {
	newer := dbtest.URL(t, testkit.Postgres(t))
	conn, err := pgx.Connect(t.Context(), newer)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, true)")
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))
	empty := dbtest.Empty(t, testkit.Postgres(t))
	for name, c := range map[string]struct{ url, migrate, want string }{
		"newer":                     {newer, "true", "has version 99999, which a newer program has made"},
		"newer, without migrations": {newer, "false", "has version 99999, which a newer program has made"},
		"older, without migrations": {empty, "false", "RUN_MIGRATIONS=true"},
	} {
		t.Run(name, func(t *testing.T) {
			b := launch(t, c.url, "RUN_MIGRATIONS="+c.migrate)
			err := <-b.done
			b.stopped = true
			require.ErrorContains(t, err, "DATABASE_URL")
			require.ErrorContains(t, err, c.want)
		})
	}
}

// A database that goes away in the middle of a start is waited for.
func TestADatabaseThatGoesAwayDuringTheStart(t *testing.T) {
	databaseURL, err := url.Parse(dbtest.Empty(t, testkit.Postgres(t)))
	require.NoError(t, err)
	server := databaseURL.Host
	proxy := testkit.Listener(t)
	var tunnels sync.WaitGroup
	t.Cleanup(func() { _ = proxy.Close(); tunnels.Wait() })
	tunnels.Go(func() {
		for n := 1; ; n++ {
			client, err := proxy.Accept()
			if err != nil {
				return
			}
			if n == 2 || n == 5 || n == 9 { // whichever steps these are
				_ = client.Close()
				continue
			}
			upstream, err := net.Dial("tcp", server)
			if err != nil {
				t.Error(err)
				return
			}
			tunnels.Go(func() { _, _ = io.Copy(upstream, client); _ = upstream.Close() })
			tunnels.Go(func() { _, _ = io.Copy(client, upstream); _ = client.Close() })
		}
	})
	databaseURL.Host = proxy.Addr().String()
	b := start(t, databaseURL.String())
	require.Equal(t, http.StatusOK, readiness(t, b))
	require.NoError(t, b.stop())
}
