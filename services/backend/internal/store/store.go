// Package store keeps everything in Postgres. Whatever changes a session does so
// in a Tx, under the lock of the session's row.
//
// Lock order, the same everywhere: session rows by id, then run rows by id,
// then the rest. The claim and the renewal of leases are the exceptions that
// cannot block anyone: the first skips locked sessions, the second locks runs
// only.
package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/poco-ai/poco/db/dbgen"
	"github.com/poco-ai/poco/services/backend/internal/hint"
)

const (
	// maxAttempts is how often a transaction is tried that another got in the
	// way of.
	maxAttempts = 5

	codeDeadlock      = "40P01"
	codeSerialization = "40001"
	codeUnique        = "23505"
	codeShutdown      = "57P01"
	codeCrashShutdown = "57P02"
)

// errBegin marks a transaction that did not begin.
var errBegin = errors.New("begin")

// Publisher is told what a committed transaction changed.
type Publisher interface {
	Publish(hint.Set)
}

// Store is the database.
type Store struct {
	pool *pgxpool.Pool
	pub  Publisher
}

// New returns the store on a pool.
func New(pool *pgxpool.Pool, pub Publisher) *Store { return &Store{pool: pool, pub: pub} }

// Read returns the queries outside of a transaction, for reading.
func (s *Store) Read() *dbgen.Queries { return dbgen.New(s.pool) }

// Tx is one transaction with the sessions it changes.
type Tx struct {
	// Q runs queries in the transaction.
	Q *dbgen.Queries
	// Later has them wait for the next of Q's, or for the commit, with its error.
	// It is for what only writes.
	Later    *dbgen.Queries
	sessions []*Session
	hints    hint.Set
}

// Do runs fn in a transaction, saves the sessions it locked, commits, and
// publishes what changed. It calls fn again when another transaction got in the
// way, so fn keeps nothing from one call to the next.
func (s *Store) Do(ctx context.Context, fn func(ctx context.Context, tx *Tx) error) error {
	for attempt := 1; ; attempt++ {
		hints, err := s.once(ctx, fn)
		if err == nil {
			s.pub.Publish(hints)
			return nil
		}
		switch {
		case attempt == maxAttempts:
			return err
		case hasCode(err, codeDeadlock, codeSerialization):
		case errors.Is(err, errBegin) && (hasCode(err, codeShutdown, codeCrashShutdown) || pgconn.SafeToRetry(err)):
			// The pool's connections are from before a restart of Postgres.
			s.pool.Reset()
		default:
			return err
		}
	}
}

func (s *Store) once(ctx context.Context, fn func(ctx context.Context, tx *Tx) error) (hint.Set, error) {
	c, err := s.begin(ctx)
	if err != nil {
		return hint.Set{}, err
	}
	defer c.release(ctx)
	tx := &Tx{Q: dbgen.New(c), Later: dbgen.New(later{c})}
	if err := fn(ctx, tx); err != nil {
		return hint.Set{}, err
	}
	for _, session := range tx.sessions {
		if err := session.save(ctx); err != nil {
			return hint.Set{}, err
		}
	}
	return tx.hints, c.commit(ctx)
}

// LockSession locks a session. The error is pgx.ErrNoRows when there is none.
func (tx *Tx) LockSession(ctx context.Context, id string) (*Session, error) {
	row, err := tx.Q.SessionLock(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("lock session: %w", err)
	}
	return tx.Use(row), nil
}

// LockRunWithSession locks a run and its session, in one statement. The error is
// pgx.ErrNoRows when there is no such run.
func (tx *Tx) LockRunWithSession(ctx context.Context, runID string) (*Session, *dbgen.Run, error) {
	row, err := tx.Q.SessionLockWithRun(ctx, runID)
	if err != nil {
		return nil, nil, fmt.Errorf("lock run and session: %w", err)
	}
	return tx.Use(row.Session), &row.Run, nil
}

// LockRun locks a run, after its session. It says whether its lease is held.
func (tx *Tx) LockRun(ctx context.Context, id string) (*dbgen.Run, bool, error) {
	row, err := tx.Q.RunLock(ctx, id)
	if err != nil {
		return nil, false, fmt.Errorf("lock run: %w", err)
	}
	return &row.Run, row.LeaseValid, nil
}

// SaveRun writes what changed in a locked run.
func (tx *Tx) SaveRun(ctx context.Context, r *dbgen.Run) error {
	err := tx.Later.RunUpdate(ctx, dbgen.RunUpdateParams{
		ID: r.ID, Status: r.Status, StatusReason: r.StatusReason, StatusMessage: r.StatusMessage, Progress: r.Progress,
		StartedAt: r.StartedAt, FinishedAt: r.FinishedAt, WorkerID: r.WorkerID, LeaseExpiresAt: r.LeaseExpiresAt,
		FencingToken: r.FencingToken, LastRunSeq: r.LastRunSeq, Attempt: r.Attempt, OfferedAttempt: r.OfferedAttempt, PromptSubmitted: r.PromptSubmitted, Resumes: r.Resumes,
		CancelMessage: r.CancelMessage, FilesSeq: r.FilesSeq,
	})
	if err != nil {
		return fmt.Errorf("save run: %w", err)
	}
	return nil
}

// NotifyQueue wakes claimers after the commit.
func (tx *Tx) NotifyQueue() { tx.hints.Queue = true }

// NotifyWorker wakes a worker's command stream after the commit.
func (tx *Tx) NotifyWorker(id string) { tx.hints.Worker(id) }

// IsNotFound says whether a query found no row.
func IsNotFound(err error) bool { return errors.Is(err, pgx.ErrNoRows) }

// IsDuplicate says whether a write broke the named unique index.
func IsDuplicate(err error, index string) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.Code == codeUnique && pgErr.ConstraintName == index
}

func hasCode(err error, codes ...string) bool {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		return false
	}
	for _, code := range codes {
		if pgErr.Code == code {
			return true
		}
	}
	return false
}

// Now is the time as Postgres keeps it, in microseconds.
func Now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// NotifyQueue wakes claimers without a transaction: time passed.
func (s *Store) NotifyQueue() { s.pub.Publish(hint.Set{Queue: true}) }
