package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/poco-ai/poco/services/internal/logging"

	"github.com/poco-ai/poco/services/internal/pace"
	"github.com/poco-ai/poco/services/internal/postgresurl"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/poco-ai/poco/db/migrations"
	"github.com/poco-ai/poco/services/backend/internal/postgres"
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
	if err := waitForDatabase(ctx, poolCfg.ConnConfig, c.GetWaitTimeout().AsDuration(), logger); err != nil {
		return nil, err
	}
	// Before the migrations, which fail with less telling words.
	if err := postgres.CheckSessions(ctx, poolCfg.ConnConfig); err != nil {
		return nil, err
	}
	schema := migrations.Check
	if c.GetRunMigrations() {
		schema = migrations.Apply
	}
	db := stdlib.OpenDB(*poolCfg.ConnConfig)
	if err := errors.Join(schema(ctx, db), db.Close()); err != nil {
		return nil, fmt.Errorf("DATABASE_URL: %w", err)
	}
	pool, err := pgxpool.NewWithConfig(ctx, poolCfg)
	if err != nil {
		return nil, fmt.Errorf("open the database pool: %w", err)
	}
	return pool, nil
}

// waitForDatabase tries until Postgres takes a connection. What waiting cannot
// change, such as a wrong password, ends it at once.
func waitForDatabase(ctx context.Context, cfg *pgx.ConnConfig, timeout time.Duration, logger *slog.Logger) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		conn, err := pgx.ConnectConfig(ctx, cfg)
		switch {
		case err == nil:
			return struct{}{}, conn.Close(ctx)
		case !postgres.MayPass(err):
			return struct{}{}, backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(pace.BackOff(minRetry, maxRetry)), backoff.WithMaxElapsedTime(max(timeout, time.Millisecond)), backoff.WithNotify(func(err error, _ time.Duration) {
		logger.DebugContext(ctx, "wait for Postgres", logging.KeyError, err)
	}))
	if err != nil {
		return fmt.Errorf("connect to Postgres at %s:%d (DATABASE_URL) within %s: %w", cfg.Host, cfg.Port, timeout, err)
	}
	return nil
}
