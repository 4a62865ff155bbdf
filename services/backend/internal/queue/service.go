// Package queue is poco.queue.v1.RunQueueService: it hands runs to workers and
// takes what they report, one file for each RPC. What becomes of a run is decided
// in package run.
package queue

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/gen/go/poco/queue/v1/queuev1connect"
	"github.com/poco-ai/poco/services/backend/internal/hint"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/backend/internal/watch"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// Presence tells how long this backend has been there for the holders of leases.
type Presence interface {
	// For is how long it has been there without a gap.
	For() time.Duration
	// Lost says that a holder asked in vain.
	Lost()
}

// workerFresh is how old the note that a worker was heard of may become before
// it is written again.
const workerFresh = 15 * time.Second

var _ queuev1connect.RunQueueServiceHandler = (*Queue)(nil)

// Queue is poco.queue.v1.RunQueueService.
type Queue struct {
	store  *store.Store
	bus    *hint.Bus
	logger *slog.Logger
	timing Timing
	here   Presence

	// Heartbeat is how long a stream is silent at most. It is not changed once
	// something is watched.
	Heartbeat time.Duration

	sweep   chan struct{}
	sweepMu sync.Mutex
	sweepAt time.Time
	// forgotAt is the sweep's own.
	forgotAt time.Time
}

// Timing is how long the queue waits for others.
type Timing struct {
	// UserInput is how long a question waits that names no end.
	UserInput time.Duration
	// WorkerGone is how long the worker that has a session's workspace must be
	// silent before another one may take the session's runs.
	WorkerGone time.Duration
}

// New returns the queue in a store; claimers are woken through the bus.
func New(st *store.Store, bus *hint.Bus, logger *slog.Logger, timing Timing, here Presence) *Queue {
	return &Queue{store: st, bus: bus, logger: logger, timing: timing, here: here, Heartbeat: watch.Heartbeat, sweep: make(chan struct{}, 1)}
}

// touch notes that a worker was heard of.
func (q *Queue) touch(ctx context.Context, worker string) error {
	if err := q.store.Read().WorkerTouch(ctx, worker, min(workerFresh, q.timing.WorkerGone/3)); err != nil {
		return fmt.Errorf("touch worker: %w", err)
	}
	return nil
}

// change locks a run with its session for a worker that shows its token, and
// calls fn. Anyone who holds the token of a run that has ended may still see it.
func (q *Queue) change(ctx context.Context, runID string, token int64, fn func(ctx context.Context, s *store.Session, r *store.Run) error) error {
	return q.store.ChangeRun(ctx, runID, func(inTx context.Context, s *store.Session, r *store.Run) error {
		logging.About(ctx, runID, s.ID)
		// A lease whose time is over holds as long as nobody has acted on it:
		// anyone who does takes the token away. A run that was never claimed has none.
		if token < 1 || r.FencingToken != token {
			return rpcerror.FailedPrecondition(backendv1.ErrorReason_ERROR_REASON_FENCING_TOKEN_STALE, "the run is no longer held under this fencing token; stop its executor",
				map[string]string{"run_id": runID})
		}
		return fn(inTx, s, r)
	})
}
