package hint

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/backend/internal/postgres"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/retry"
)

const (
	// channel is the one Postgres channel of all hints.
	channel = "poco_hint"
	// ListenerName is the application_name of the listening connection.
	ListenerName = "poco-backend-listen"
	// maxPending bounds what waits to be sent while Postgres is away; beyond it
	// everyone is woken instead.
	maxPending = 10000
	// probeInterval is how long the listening connection may be silent before
	// it is asked for a sign of life.
	probeInterval = 30 * time.Second
	probeTimeout  = 10 * time.Second
	minBackoff    = 100 * time.Millisecond
	maxBackoff    = 5 * time.Second
	// deafTries is how often in a row a connection may hear nothing before that
	// is taken for certain.
	deafTries = 2
)

// Bus carries hints to the subscriptions of this backend, and through Postgres to
// those of the others.
type Bus struct {
	pool     *pgxpool.Pool
	listen   *pgx.ConnConfig
	logger   *slog.Logger
	instance string

	subscribers subscribers

	wake      chan struct{}
	mu        sync.Mutex
	pending   Set
	partials  []string // encoded lines
	listening Signal
	connects  int
}

// NewBus returns a bus that sends through pool and listens on a connection of
// its own. Run makes it work.
func NewBus(pool *pgxpool.Pool, logger *slog.Logger) *Bus {
	id := make([]byte, 8)
	rand.Read(id) // never fails
	listen := pool.Config().ConnConfig.Copy()
	listen.RuntimeParams["application_name"] = ListenerName
	return &Bus{
		pool: pool, listen: listen, logger: logger,
		instance: hex.EncodeToString(id), wake: make(chan struct{}, 1),
	}
}

// Subscribe collects what is told about a topic from now on. Look at what the
// topic is about after it, so that no change falls in between.
func (b *Bus) Subscribe(t Topic) *Subscription { return b.subscribers.add(t) }

// Publish hands hints to this backend at once and sends them to the others.
// Call it after the commit. A NOTIFY inside the transaction would be exact, but
// takes a lock that serialises all commits of the database.
func (b *Bus) Publish(set Set) {
	if set.Empty() {
		return
	}
	b.subscribers.deliver(set)
	b.mu.Lock()
	b.pending.Merge(set)
	if len(b.pending.Sessions)+len(b.pending.Listed)+len(b.pending.Workers) > maxPending {
		b.pending = Set{All: true}
	}
	b.mu.Unlock()
	b.poke()
}

// PublishPartials hands text being written to the session's watchers here and
// at the other backends.
func (b *Bus) PublishPartials(sessionID string, partials []*backendv1.PartialContent) {
	if len(partials) == 0 {
		return
	}
	b.subscribers.deliver(Set{Partials: map[string][]*backendv1.PartialContent{sessionID: partials}})
	lines, err := partialLines(sessionID, partials)
	if err != nil {
		b.logger.Warn("drop text being written", logging.KeyError, err)
		return
	}
	b.mu.Lock()
	if len(b.partials)+len(lines) <= maxPending { // else they are lost, as they may be
		b.partials = append(b.partials, lines...)
	}
	b.mu.Unlock()
	b.poke()
}

func (b *Bus) poke() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// Run sends and listens until ctx is done.
func (b *Bus) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return b.sendAll(ctx) })
	g.Go(func() error { return b.listenAll(ctx) })
	return g.Wait()
}

// sendAll sends what is pending as soon as the previous sending is done: hints
// that come meanwhile travel together.
func (b *Bus) sendAll(ctx context.Context) error {
	backOff := retry.BackOff(minBackoff, maxBackoff)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-b.wake:
		}
		lines := b.take()
		if len(lines) == 0 {
			continue
		}
		_, err := b.pool.Exec(ctx, "SELECT pg_notify('"+channel+"', p) FROM unnest($1::text[]) p", pack(b.instance, lines))
		if err == nil {
			backOff.Reset()
			continue
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was told to stop
		}
		b.logger.Warn("send hints", logging.KeyError, err)
		b.mu.Lock()
		b.pending.All = true
		b.mu.Unlock()
		if !retry.Pause(ctx, backOff.NextBackOff()) {
			return nil
		}
		b.poke()
	}
}

func (b *Bus) take() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	lines := append(setLines(b.pending), b.partials...)
	b.pending, b.partials = Set{}, nil
	return lines
}

// listenAll keeps one connection listening. Anyone who waits is woken after each
// connect, because hints may have passed while there was none.
//
// It ends with postgres.ErrNoSessions when hints do not come through although
// both ends work: a pooler was put before Postgres, and everybody would wait
// for the next poll.
func (b *Bus) listenAll(ctx context.Context) error {
	backOff := retry.BackOff(minBackoff, maxBackoff)
	deaf := 0
	for {
		err := b.listenOnce(ctx, func() { backOff.Reset(); deaf = 0 })
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was told to stop
		}
		if errors.Is(err, postgres.ErrNoSessions) {
			if deaf++; deaf == deafTries {
				return err
			}
		}
		b.logger.Warn("listen for hints", logging.KeyError, err)
		if !retry.Pause(ctx, backOff.NextBackOff()) {
			return nil
		}
	}
}

func (b *Bus) listenOnce(ctx context.Context, connected func()) error {
	conn, err := pgx.ConnectConfig(ctx, b.listen)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() {
		closeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(closeCtx) // it is given up
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if err := b.proveListening(ctx, conn); err != nil {
		return err
	}
	connected()
	b.subscribers.deliver(Set{All: true})
	b.mu.Lock()
	b.connects++
	b.mu.Unlock()
	b.listening.Notify()
	for {
		n, err := waitForNotification(ctx, conn)
		if err != nil {
			return err
		}
		if n != nil {
			b.subscribers.deliver(parse(n.Payload, b.instance))
		}
	}
}

// proveListening sends this backend a notification, which has to arrive. Others
// that come meanwhile are no loss: everybody is woken after it.
func (b *Bus) proveListening(ctx context.Context, conn *pgx.Conn) error {
	proof := b.instance + " proof " + rand.Text()
	if _, err := b.pool.Exec(ctx, "SELECT pg_notify('"+channel+"', $1)", proof); err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	waiting, cancel := context.WithTimeout(ctx, postgres.NotifyTimeout)
	defer cancel()
	for {
		n, err := conn.WaitForNotification(waiting)
		switch {
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			return postgres.ErrNoSessions
		case err != nil:
			return fmt.Errorf("wait for the proof of listening: %w", err)
		case n.Payload == proof:
			return nil
		}
	}
}

// waitForNotification returns nil when there was none for a while and the
// connection still answers.
func waitForNotification(ctx context.Context, conn *pgx.Conn) (*pgconn.Notification, error) {
	waitCtx, cancel := context.WithTimeout(ctx, probeInterval)
	n, err := conn.WaitForNotification(waitCtx)
	cancel()
	if err == nil {
		return n, nil
	}
	if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("wait for a notification: %w", err)
	}
	pingCtx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if err := conn.Ping(pingCtx); err != nil {
		return nil, fmt.Errorf("probe: %w", err)
	}
	return nil, nil
}

// Connects returns how often the bus has begun to listen, and a channel that is
// closed when it does again.
func (b *Bus) Connects() (int, <-chan struct{}) {
	ch := b.listening.C()
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.connects, ch
}
