package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/poco-ai/poco/db/dbgen"
)

// conn is the connection of a transaction. What is only written waits in a
// pipeline for the next statement whose answer somebody needs, or for the end, so
// that most transactions are one exchange with Postgres for each row that they
// lock and one for all that they write.
type conn struct {
	pg     *pgxpool.Conn
	queued pgx.Batch
}

var _ dbgen.DBTX = (*conn)(nil)

const begin = "begin"

// begin takes a connection. The transaction begins with its first statement.
func (s *Store) begin(ctx context.Context) (*conn, error) {
	pg, err := s.pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBegin, err)
	}
	c := &conn{pg: pg}
	c.queued.Queue(begin)
	return c, nil
}

// commit sends what is queued and ends the transaction.
func (c *conn) commit(ctx context.Context) error {
	tag, err := c.Exec(ctx, "commit")
	if err == nil && tag.String() == "ROLLBACK" {
		err = pgx.ErrTxCommitRollback
	}
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// release gives the connection back, and ends a transaction that was not
// committed.
func (c *conn) release(ctx context.Context) {
	if c.pg.Conn().PgConn().TxStatus() != 'I' {
		// After an error the connection may be gone, and the transaction with it.
		_, _ = c.pg.Exec(context.WithoutCancel(ctx), "rollback")
	}
	c.pg.Release()
}

// Exec implements dbgen.DBTX.
func (c *conn) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	results, err := c.send(ctx, sql, args)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	tag, err := results.Exec()
	return tag, errors.Join(err, results.Close())
}

// Query implements dbgen.DBTX.
func (c *conn) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	results, err := c.send(ctx, sql, args)
	if err != nil {
		return nil, err
	}
	rows, err := results.Query()
	if err != nil {
		return nil, errors.Join(err, results.Close())
	}
	return &pipelinedRows{rows, results}, nil
}

// QueryRow implements dbgen.DBTX.
func (c *conn) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	results, err := c.send(ctx, sql, args)
	return &pipelinedRow{results, err}
}

// send sends a statement behind all that is queued, whose errors it returns.
func (c *conn) send(ctx context.Context, sql string, args []any) (pgx.BatchResults, error) {
	batch := c.queued
	c.queued = pgx.Batch{}
	begins := len(batch.QueuedQueries) > 0 && batch.QueuedQueries[0].SQL == begin
	waiting := len(batch.QueuedQueries)
	batch.Queue(sql, args...)
	results := c.pg.SendBatch(ctx, &batch)
	for i := range waiting {
		if _, err := results.Exec(); err != nil {
			if i == 0 && begins {
				err = fmt.Errorf("%w: %w", errBegin, err)
			}
			return nil, errors.Join(err, results.Close())
		}
	}
	return results, nil
}

// later queues what is only written. What that meets, such as a value that is
// there already, is the error of the next statement, or of the commit.
type later struct{ *conn }

// Exec implements dbgen.DBTX. The tag is always empty.
func (l later) Exec(_ context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	l.queued.Queue(sql, args...)
	return pgconn.CommandTag{}, nil
}

// pipelinedRows are the rows of the last statement of a pipeline.
type pipelinedRows struct {
	pgx.Rows
	results pgx.BatchResults
}

// Close implements pgx.Rows.
func (r *pipelinedRows) Close() {
	r.Rows.Close()
	_ = r.results.Close() // Rows.Err has told
}

// pipelinedRow is the row of the last statement of a pipeline.
type pipelinedRow struct {
	results pgx.BatchResults
	err     error
}

// Scan implements pgx.Row.
func (r *pipelinedRow) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	err := r.results.QueryRow().Scan(dest...)
	if closed := r.results.Close(); err == nil {
		err = closed
	}
	return err
}
