package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// freshInterval is how often a healthy database is asked for a connection
	// more: a pool has some left when Postgres has none.
	freshInterval = 10 * time.Second
	// tolerated is how many calls may fail within failureWindow: one connection
	// that broke is no outage.
	tolerated     = 2
	failureWindow = 10 * time.Second
	// proofs is how many questions in a row must be answered after an outage.
	proofs = 3
)

// Health tells whether calls would find the database able to serve them. It
// learns from the calls that failed, and asks by itself.
type Health struct {
	pool *pgxpool.Pool

	mu sync.Mutex
	// failures are the times of calls that failed, the newest last.
	failures []time.Time
	// down is why the last outage began, nil when it is over; answered counts
	// the questions answered since.
	down     error
	answered int
	freshAt  time.Time
}

// NewHealth returns the health of the database behind a pool.
func NewHealth(pool *pgxpool.Pool) *Health { return &Health{pool: pool} }

// Failed says that the database did not serve a call.
func (h *Health) Failed() {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	h.failures = append(h.recent(now), now)
	if len(h.failures) > tolerated {
		h.fail(fmt.Errorf("the database did not serve %d calls within %s", len(h.failures), failureWindow))
	}
}

// recent are the failures of the window.
func (h *Health) recent(now time.Time) []time.Time {
	for i, at := range h.failures {
		if now.Sub(at) < failureWindow {
			return h.failures[i:]
		}
	}
	return nil
}

// fail begins an outage, or goes on with one.
func (h *Health) fail(why error) {
	if h.down == nil {
		h.down = why
	}
	h.answered = 0
}

// Ask asks the database what calls ask of it, and takes note of the answer.
func (h *Health) Ask(ctx context.Context) error {
	h.mu.Lock()
	fresh := h.down != nil || time.Since(h.freshAt) > freshInterval
	h.mu.Unlock()
	err := h.ask(ctx, fresh)
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if err != nil {
		h.fail(err)
		return err
	}
	if fresh {
		h.freshAt = now
	}
	if h.answered++; h.answered >= proofs && len(h.recent(now)) == 0 {
		h.down = nil
	}
	return nil
}

func (h *Health) ask(ctx context.Context, fresh bool) error {
	var readOnly bool
	err := h.pool.QueryRow(ctx, "SELECT current_setting('transaction_read_only')::boolean").Scan(&readOnly)
	if err != nil {
		return plain(err)
	}
	if readOnly {
		return errors.New("the database takes no writes: it is a standby, or set read-only")
	}
	if stat := h.pool.Stat(); !fresh || stat.TotalConns() >= stat.MaxConns() {
		return nil
	}
	conn, err := pgx.ConnectConfig(ctx, h.pool.Config().ConnConfig)
	if err != nil {
		return plain(err)
	}
	return conn.Close(ctx)
}

// Ready says why calls would fail; nil when they would not. It asks at once and
// after an outage for some time more, because a database that comes back may
// go again.
func (h *Health) Ready(ctx context.Context) error {
	h.mu.Lock()
	down := h.down
	h.mu.Unlock()
	if down != nil {
		return down
	}
	if err := h.ask(ctx, false); err != nil {
		return err
	}
	return nil
}

// plain says what an error is without the address and user that the driver's
// has in it.
func plain(err error) error {
	var refused *pgconn.PgError
	switch {
	case errors.As(err, &refused):
		return fmt.Errorf("the database answers with SQLSTATE %s: %s", refused.Code, refused.Message)
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("the database does not answer, or every connection to it is in use")
	default:
		return errors.New("the database cannot be reached")
	}
}
