package app

import (
	"bytes"
	"errors"
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

func TestStatementsAreLoggedWithoutValues(t *testing.T) {
	const mark = "s3cr3t-mark"
	var out bytes.Buffer
	enabled := false
	log := statementLog{slog.New(slog.NewTextHandler(&out, nil)), func() bool { return enabled }}
	query := func(err error) {
		ctx := log.TraceQueryStart(t.Context(), nil, pgx.TraceQueryStartData{SQL: "SELECT *\n  FROM secrets WHERE value = $1", Args: []any{mark}})
		log.TraceQueryEnd(ctx, nil, pgx.TraceQueryEndData{CommandTag: pgconn.NewCommandTag("SELECT 3"), Err: err})
	}
	query(nil)
	require.Empty(t, out.String())

	enabled = true
	query(nil)
	require.Contains(t, out.String(), `statement="SELECT * FROM secrets WHERE value = $1" duration_ms=`)
	require.Contains(t, out.String(), "rows=3")
	query(&pgconn.PgError{Code: "22P02", Message: "invalid input syntax for type uuid: " + mark, Detail: mark})
	require.Contains(t, out.String(), "sqlstate=22P02")
	query(errors.New("cannot encode " + mark))
	require.Contains(t, out.String(), "failed=true")

	batch := &pgx.Batch{}
	batch.Queue("INSERT INTO secrets VALUES ($1)", mark)
	batch.Queue("INSERT INTO secrets VALUES ($1)", mark)
	ctx := log.TraceBatchStart(t.Context(), nil, pgx.TraceBatchStartData{Batch: batch})
	log.TraceBatchQuery(ctx, nil, pgx.TraceBatchQueryData{SQL: "INSERT INTO secrets VALUES ($1)", Args: []any{mark}})
	log.TraceBatchEnd(ctx, nil, pgx.TraceBatchEndData{})
	require.Contains(t, out.String(), "INSERT INTO secrets VALUES ($1)")
	require.NotContains(t, out.String(), mark)
}
