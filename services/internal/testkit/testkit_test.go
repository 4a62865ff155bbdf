package testkit_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/poco-ai/poco/services/internal/embedded"
	"github.com/poco-ai/poco/services/internal/testkit"
)

// The shared servers leave no goroutine behind.
func TestMain(m *testing.M) {
	// pgx closes a connection whose server was killed in the background.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/jackc/pgx/v5/pgconn.(*PgConn).asyncClose.func1"))
}

func TestPostgres(t *testing.T) {
	url := testkit.Postgres(t)
	require.Equal(t, url, testkit.Postgres(t), "the server is shared")
	conn, err := pgx.Connect(t.Context(), testkit.Postgres(t))
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(t.Context())) }()
	_, err = conn.Exec(t.Context(), "DROP DATABASE IF EXISTS another")
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "CREATE DATABASE another")
	require.NoError(t, err)
}

func TestOwnPostgresSurvivesACrash(t *testing.T) {
	server, opts := testkit.OwnPostgres(t)
	conn, err := pgx.Connect(t.Context(), server.URL())
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)")
	require.NoError(t, err)
	require.NoError(t, server.Crash())
	_, err = conn.Exec(t.Context(), "SELECT 1")
	require.Error(t, err)

	again, err := embedded.StartPostgres(t.Context(), opts)
	require.NoError(t, err)
	require.Equal(t, server.URL(), again.URL())
	conn, err = pgx.Connect(t.Context(), again.URL())
	require.NoError(t, err)
	var n int
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT n FROM kept").Scan(&n))
	require.Equal(t, 7, n)
	require.NoError(t, conn.Close(t.Context()))
	require.NoError(t, again.Stop(t.Context()))
	<-again.Done()
}
