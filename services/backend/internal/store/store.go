// Package store keeps everything in Postgres. Whatever changes a session does so
// in a Tx, under the lock of the session's row.
//
// Lock order, the same everywhere: session rows by id, run rows in the order of
// their sessions and after them, then the rest. Exceptions that cannot block anyone
// are the claim and ChangeRun, which skip what is locked, and the renewal of leases,
// which locks runs only.
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

	together together
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
	Later *dbgen.Queries

	sessions []*Session
	events   dbgen.RunEventInsertManyParams
	messages dbgen.MessageInsertManyParams
	diffs    Diffs
	// diffSessions are whose the diffs are.
	diffSessions []string
	hints        hint.Set
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
	if err := tx.save(ctx); err != nil {
		return hint.Set{}, err
	}
	return tx.hints, c.commit(ctx)
}

// LockSession locks a session. The error is pgx.ErrNoRows when there is none.
func (tx *Tx) LockSession(ctx context.Context, id string) (*Session, error) {
	row, err := tx.Q.SessionLock(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("lock session: %w", err)
	}
	return tx.use(row), nil
}

// LockSessions locks sessions, in one order.
func (tx *Tx) LockSessions(ctx context.Context, ids []string) ([]*Session, error) {
	rows, err := tx.Q.SessionLockMany(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("lock sessions: %w", err)
	}
	return tx.useAll(rows), nil
}

// LockClaimable locks the sessions whose next run has waited longest, the first
// one first.
func (tx *Tx) LockClaimable(ctx context.Context, p dbgen.SessionLockClaimableParams) ([]*Session, error) {
	rows, err := tx.Q.SessionLockClaimable(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("lock sessions to claim from: %w", err)
	}
	return tx.useAll(rows), nil
}

// LockRunWithSession locks a run and its session, in one statement. The error is
// pgx.ErrNoRows when there is no such run.
func (tx *Tx) LockRunWithSession(ctx context.Context, runID string) (*Session, *Run, error) {
	row, err := tx.Q.SessionLockWithRun(ctx, runID)
	if err != nil {
		return nil, nil, fmt.Errorf("lock run and session: %w", err)
	}
	s := tx.use(row.Session)
	return s, s.Use(row.Run), nil
}

// LockRun locks a run of the session.
func (s *Session) LockRun(ctx context.Context, id string) (*Run, error) {
	row, err := s.tx.Q.RunLock(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("lock run: %w", err)
	}
	return s.Use(row), nil
}

// LockQueued locks the session's runs that wait, the next one first.
func (s *Session) LockQueued(ctx context.Context) ([]*Run, error) {
	rows, err := s.tx.Q.RunLockQueued(ctx, s.ID)
	if err != nil {
		return nil, fmt.Errorf("lock queued runs: %w", err)
	}
	runs := make([]*Run, 0, len(rows))
	for _, row := range rows {
		runs = append(runs, s.Use(row))
	}
	return runs, nil
}

// Use takes up a run of the session that the transaction has locked or inserted.
func (s *Session) Use(row dbgen.Run) *Run {
	r := &Run{Run: row, stored: row}
	s.runs = append(s.runs, r)
	return r
}

func (tx *Tx) use(row dbgen.Session) *Session {
	s := &Session{Session: row, tx: tx, stored: row}
	tx.sessions = append(tx.sessions, s)
	return s
}

func (tx *Tx) useAll(rows []dbgen.Session) []*Session {
	sessions := make([]*Session, 0, len(rows))
	for _, row := range rows {
		sessions = append(sessions, tx.use(row))
	}
	return sessions
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
