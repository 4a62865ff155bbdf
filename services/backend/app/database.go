package app

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/poco-ai/poco/db/migrations"
	"github.com/poco-ai/poco/services/backend/internal/postgres"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/postgresurl"
	"github.com/poco-ai/poco/services/internal/retry"
)

const (
	// connectTimeout bounds one attempt to connect.
	connectTimeout = 5 * time.Second
	// idleTime is how long an unused connection is kept: an idle backend holds
	// few.
	idleTime = 2 * time.Minute
	// healthPeriod is how often idle connections are looked after.
	healthPeriod = 30 * time.Second
	minRetry     = 50 * time.Millisecond
	maxRetry     = 2 * time.Second
)

// openDatabase waits for Postgres, brings its schema up to date, and returns a
// pool.
func openDatabase(ctx context.Context, cfg *Config, logger *slog.Logger) (*pgxpool.Pool, error) {
	c := cfg.Msg.GetDatabase()
	poolCfg, err := postgresurl.Parse(cfg.Secret("DATABASE_URL").Reveal())
	if err != nil {
		return nil, fmt.Errorf("DATABASE_URL %w", err)
	}
	poolCfg.MaxConns = c.GetMaxConnections()
	poolCfg.MaxConnIdleTime = idleTime
	poolCfg.HealthCheckPeriod = healthPeriod
	poolCfg.ConnConfig.ConnectTimeout = connectTimeout
	poolCfg.ConnConfig.RuntimeParams["application_name"] = "poco-backend"
	poolCfg.ConnConfig.Tracer = statementLog{logger, func() bool { return cfg.Current().GetLogging().GetSql() }}
	schema := migrations.Check
	if c.GetRunMigrations() {
		schema = migrations.Apply
	}
	if err := waitForDatabase(ctx, poolCfg.ConnConfig, schema, c.GetWaitTimeout().AsDuration(), logger); err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, poolCfg)
	if err != nil {
		return nil, fmt.Errorf("open the database pool: %w", err)
	}
	return pool, nil
}

// waitForDatabase tries until Postgres can be worked with: it may go away in the
// middle. What waiting cannot change, such as a wrong password, ends it at once.
func waitForDatabase(ctx context.Context, cfg *pgx.ConnConfig, schema func(context.Context, *sql.DB) error, timeout time.Duration, logger *slog.Logger) error {
	told := false
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := tryDatabase(ctx, cfg, schema)
		if err != nil && !postgres.MayPass(err) {
			return struct{}{}, backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(retry.BackOff(minRetry, maxRetry)), backoff.WithMaxElapsedTime(max(timeout, time.Millisecond)), backoff.WithNotify(func(err error, _ time.Duration) {
		if !told {
			told = true
			logger.WarnContext(ctx, "waiting for Postgres at DATABASE_URL", "for_at_most", timeout, logging.KeyError, err)
		}
	}))
	if err != nil {
		return fmt.Errorf("work with Postgres at %s:%d (DATABASE_URL): %w", cfg.Host, cfg.Port, err)
	}
	return nil
}

// tryDatabase connects and looks whether the database is one to work with.
func tryDatabase(ctx context.Context, cfg *pgx.ConnConfig, schema func(context.Context, *sql.DB) error) error {
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if err := conn.Close(ctx); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	// Before the migrations, which fail with less telling words.
	if err := postgres.CheckSessions(ctx, cfg); err != nil {
		return lasting(err)
	}
	db := stdlib.OpenDB(*cfg)
	return lasting(errors.Join(schema(ctx, db), db.Close()))
}

// lasting ends the wait at an error that does not say that the connection, or
// the database, was lost.
func lasting(err error) error {
	if err == nil || postgres.Unavailable(err) || errors.Is(err, driver.ErrBadConn) {
		return err
	}
	return backoff.Permanent(err)
}
