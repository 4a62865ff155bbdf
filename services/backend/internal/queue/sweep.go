package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/backend/internal/userinput"
	"github.com/poco-ai/poco/services/internal/logging"
)

const (
	// maxSweepPause is the longest the sweep sleeps: other backends give leases
	// too, which this one's timer knows nothing of.
	maxSweepPause = 15 * time.Second
	// minSweepPause keeps a deadline in the past from spinning.
	minSweepPause = 20 * time.Millisecond
	// forgetAfter is how long a worker that is gone stays in the table.
	forgetAfter = 30 * 24 * time.Hour
	// forgetInterval is how often such are looked for.
	forgetInterval = time.Hour
)

// Sweep acts on leases and questions the moment they expire, ends what is due
// by workers that are gone, and wakes claimers the moment a scheduled run is due,
// until ctx is done.
func (q *Queue) Sweep(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	due := time.Now()
	after := store.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-q.sweep:
			if by := q.takeSweepBy(); !by.IsZero() && by.Before(due) {
				due = by
				timer.Reset(time.Until(due))
			}
			continue
		case <-timer.C:
		}
		var pause time.Duration
		now, deadline, err := q.sweepOnce(ctx, after)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			q.logger.WarnContext(ctx, "sweep expired leases", logging.KeyError, err)
			pause = time.Second
		default:
			after = now
			pause = min(max(deadline.Sub(now), minSweepPause), maxSweepPause)
		}
		due = time.Now().Add(pause)
		timer.Reset(pause)
	}
}

// sweepOnce returns the database's time and the next deadline.
func (q *Queue) sweepOnce(ctx context.Context, after time.Time) (now, deadline time.Time, err error) {
	read := q.store.Read()
	err = errors.Join(q.ExpireLeases(ctx), userinput.ExpireAll(ctx, q.store), q.FailOrphanedExports(ctx))
	if err != nil {
		return now, deadline, err
	}
	if time.Since(q.forgotAt) > forgetInterval {
		if err := read.WorkerDeleteSilent(ctx, max(forgetAfter, q.timing.WorkerGone)); err != nil {
			return now, deadline, fmt.Errorf("forget workers: %w", err)
		}
		q.forgotAt = time.Now()
	}
	due, err := read.RunAnyDue(ctx, after)
	if err != nil {
		return now, deadline, fmt.Errorf("look for runs that are due: %w", err)
	}
	if due {
		q.store.NotifyQueue()
	}
	row, err := read.RunNextDeadline(ctx, returnGrace, q.here.For(), q.timing.WorkerGone)
	if err != nil {
		return now, deadline, fmt.Errorf("look for the next deadline: %w", err)
	}
	return row.Now, row.Deadline, nil
}

// SweepBy makes the sweep look no later than at a time.
func (q *Queue) SweepBy(t time.Time) {
	q.sweepMu.Lock()
	if q.sweepAt.IsZero() || t.Before(q.sweepAt) {
		q.sweepAt = t
	}
	q.sweepMu.Unlock()
	select {
	case q.sweep <- struct{}{}:
	default:
	}
}

// takeSweepBy returns the earliest time asked for since the last call.
func (q *Queue) takeSweepBy() time.Time {
	q.sweepMu.Lock()
	defer q.sweepMu.Unlock()
	t := q.sweepAt
	q.sweepAt = time.Time{}
	return t
}
