// Package dbtest gives each test a database of its own.
package dbtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/db/migrations"
)

// templates are the migrated databases that every test's is a copy of: one for
// each server, made once in a test process.
var templates = struct {
	mu       sync.Mutex
	byServer map[string]string
}{byServer: make(map[string]string)}

// URL returns the URL of a new database with the current schema, on the server
// that admin opens with the right to create databases (testkit.Postgres gives
// one). It is dropped at the end of the test.
func URL(t testing.TB, admin string) string {
	t.Helper()
	template, err := templateOn(context.Background(), admin)
	require.NoError(t, err, "make the template database")
	return create(t, admin, fmt.Sprintf(" TEMPLATE %q", template))
}

// Empty returns the URL of a new database without a schema; see URL.
func Empty(t testing.TB, admin string) string {
	t.Helper()
	return create(t, admin, "")
}

func create(t testing.TB, admin, options string) string {
	t.Helper()
	ctx := context.Background()
	name := "poco_test_" + uuid.NewString()[:13]
	require.NoError(t, execute(ctx, admin, fmt.Sprintf(`CREATE DATABASE %q%s`, name, options)))
	t.Cleanup(func() {
		if err := execute(ctx, admin, fmt.Sprintf(`DROP DATABASE IF EXISTS %q WITH (FORCE)`, name)); err != nil {
			t.Logf("drop the test database: %v", err)
		}
	})
	return withDatabase(t, admin, name)
}

// PoolOn returns a pool on a given database, closed at the end of the test. A
// deadlock fails the test, also one that is tried again: it is a fault in the
// order of locks.
func PoolOn(t testing.TB, databaseURL string) *pgxpool.Pool {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(databaseURL)
	require.NoError(t, err)
	cfg.ConnConfig.Tracer = deadlocks{t}
	pool, err := pgxpool.NewWithConfig(context.Background(), cfg)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

// deadlocks is a pgx.QueryTracer.
type deadlocks struct{ t testing.TB }

type statement struct{}

// TraceQueryStart notes the statement.
func (d deadlocks) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	return context.WithValue(ctx, statement{}, data.SQL)
}

// TraceQueryEnd fails the test when the statement ended in a deadlock.
func (d deadlocks) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	var pgErr *pgconn.PgError
	if errors.As(data.Err, &pgErr) && pgErr.Code == "40P01" {
		d.t.Errorf("deadlock in %v: %s", ctx.Value(statement{}), pgErr.Detail)
	}
}

func templateOn(ctx context.Context, admin string) (string, error) {
	templates.mu.Lock()
	defer templates.mu.Unlock()
	if name, ok := templates.byServer[admin]; ok {
		return name, nil
	}
	name, err := makeTemplate(ctx, admin)
	if err != nil {
		return "", err
	}
	templates.byServer[admin] = name
	return name, nil
}

func makeTemplate(ctx context.Context, admin string) (string, error) {
	name := "poco_template_" + uuid.NewString()[:13]
	if err := execute(ctx, admin, fmt.Sprintf(`CREATE DATABASE %q`, name)); err != nil {
		return "", err
	}
	cfg, err := pgx.ParseConfig(admin)
	if err != nil {
		return "", fmt.Errorf("parse the database URL: %w", err)
	}
	cfg.Database = name
	db := stdlib.OpenDB(*cfg)
	if err := migrations.Apply(ctx, db); err != nil {
		return "", err
	}
	return name, db.Close()
}

func execute(ctx context.Context, databaseURL, statement string) error {
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if _, err := conn.Exec(ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return conn.Close(ctx)
}

func withDatabase(t testing.TB, databaseURL, name string) string {
	t.Helper()
	u, err := url.Parse(databaseURL)
	require.NoError(t, err)
	u.Path = "/" + name
	return u.String()
}
