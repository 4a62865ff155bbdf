package app

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// statementLog logs SQL statements with their duration, never their parameters:
// those hold prompts, answers and secrets. Of an error it tells the code alone,
// because Postgres quotes values in its messages.
type statementLog struct {
	logger *slog.Logger
	// enabled tells at each statement whether it is logged (LOG_SQL).
	enabled func() bool
}

var (
	_ pgx.QueryTracer = statementLog{}
	_ pgx.BatchTracer = statementLog{}
)

type statementKey struct{}

// statement is one under way.
type statement struct {
	sql   string
	begun time.Time
}

// TraceQueryStart implements pgx.QueryTracer.
func (l statementLog) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	return l.begin(ctx, data.SQL)
}

// TraceQueryEnd implements pgx.QueryTracer.
func (l statementLog) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	l.end(ctx, data.CommandTag, data.Err)
}

// TraceBatchStart implements pgx.BatchTracer.
func (l statementLog) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return l.begin(ctx, "")
}

// TraceBatchQuery implements pgx.BatchTracer. The duration of a statement in a
// batch is from the batch's begin.
func (l statementLog) TraceBatchQuery(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchQueryData) {
	if s, ok := ctx.Value(statementKey{}).(statement); ok {
		s.sql = data.SQL
		l.log(ctx, s, data.CommandTag, data.Err)
	}
}

// TraceBatchEnd implements pgx.BatchTracer.
func (l statementLog) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

func (l statementLog) begin(ctx context.Context, sql string) context.Context {
	if !l.enabled() {
		return ctx
	}
	return context.WithValue(ctx, statementKey{}, statement{sql, time.Now()})
}

func (l statementLog) end(ctx context.Context, tag pgconn.CommandTag, err error) {
	if s, ok := ctx.Value(statementKey{}).(statement); ok {
		l.log(ctx, s, tag, err)
	}
}

func (l statementLog) log(ctx context.Context, s statement, tag pgconn.CommandTag, err error) {
	attrs := []any{
		"statement", strings.Join(strings.Fields(s.sql), " "),
		"duration_ms", float64(time.Since(s.begun).Microseconds()) / 1000, "rows", tag.RowsAffected(),
	}
	var refused *pgconn.PgError
	switch {
	case errors.As(err, &refused):
		attrs = append(attrs, "sqlstate", refused.Code)
	case err != nil:
		attrs = append(attrs, "failed", true)
	}
	l.logger.InfoContext(ctx, "sql", attrs...)
}
