package worker

import (
	"context"
	"math/rand/v2"
	"time"

	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/internal/logging"
)

// claimTimeout bounds one ClaimRuns call. It is generous: runs of a claim
// whose answer was lost wait until their lease has run out.
const claimTimeout = 30 * time.Second

// jitterShare spreads the polls of many managers.
const jitterShare = 0.2

// claimLoop looks at the queue on a hint, when a slot becomes free, and every
// pull interval, because a hint may be missed.
func (w *Worker) claimLoop(ctx context.Context) {
	interval := w.opts.QueueConfig.GetPullInterval().AsDuration()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-w.wake:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		w.claim(ctx)
		timer.Reset(jitter(interval))
	}
}

func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (1 - jitterShare + 2*jitterShare*rand.Float64()))
}

// claim takes runs until every slot is taken or the queue has no more.
func (w *Worker) claim(ctx context.Context) {
	for {
		held, limit := w.Load()
		free := min(limit-held, 100) // what one call may ask for
		if free <= 0 || ctx.Err() != nil {
			return
		}
		asked := w.now()
		// Not cut off when the worker stops: what the backend gives away meanwhile
		// is given back.
		callCtx, cancel := context.WithTimeout(w.settling, claimTimeout)
		resp, err := w.opts.Queue.ClaimRuns(callCtx, &queuev1.ClaimRunsRequest{
			WorkerId: w.opts.Identity.WorkerID, MaxRuns: int32(free), LeaseDuration: w.leaseProto(),
		})
		cancel()
		if err != nil {
			if ctx.Err() == nil {
				w.logger.Warn("queue cannot be asked for runs", logging.KeyError, err)
			}
			return
		}
		for _, claim := range resp.GetRuns() {
			w.metrics.claimed.Inc()
			w.hold(ctx, claim, asked, nil)
		}
		if len(resp.GetRuns()) < free {
			return
		}
	}
}

// watchQueue turns the backend's hints into looks at the queue.
func (w *Worker) watchQueue(ctx context.Context) {
	w.keepStream(ctx, "queue hints", func(ctx context.Context, alive func()) error {
		stream, err := w.opts.Queue.WatchQueue(ctx, &queuev1.WatchQueueRequest{WorkerId: w.opts.Identity.WorkerID})
		if err != nil {
			return err
		}
		for {
			if _, err := stream.Recv(); err != nil {
				return err
			}
			alive()
			w.poke()
		}
	})
}
