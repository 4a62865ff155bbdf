package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/poco-ai/poco/db/dbtype"
	"github.com/poco-ai/poco/services/backend/internal/run"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/internal/logging"
)

const (
	// expiryBatch bounds one look for expired leases.
	expiryBatch = 100
	// returnGrace is what managers need to find a backend that was away: their
	// longest pause before they connect again, and a call. Shorter leases are not
	// acted on before it either.
	returnGrace = 5 * time.Second
	// greetGrace is the same for managers that hold nothing, and so have less to
	// call for.
	greetGrace = 15 * time.Second
)

// mayExpire tells whether the holder of a lease of this length had the time to
// renew it with this backend. Another backend that was there all along does not
// wait for this one.
func (q *Queue) mayExpire(lease time.Duration) bool {
	return q.here.For() >= max(lease, returnGrace)
}

// mayJudgeWorkers tells whether a worker that was not heard of for
// Timing.WorkerGone is gone, and not only has not found this backend yet.
func (q *Queue) mayJudgeWorkers() bool {
	return q.here.For() >= min(q.timing.WorkerGone, greetGrace)
}

// ExpireLeases acts on every lease that has run out although it could have been
// renewed. One that cannot be acted on holds up no other.
func (q *Queue) ExpireLeases(ctx context.Context) error {
	if !q.mayExpire(0) {
		return nil
	}
	expired, err := q.store.Read().RunListExpired(ctx, q.here.For(), expiryBatch)
	if err != nil {
		return fmt.Errorf("list expired leases: %w", err)
	}
	var errs []error
	for _, e := range expired {
		if err := q.expire(ctx, e.SessionID, e.ID); err != nil {
			errs = append(errs, fmt.Errorf("expire the lease of run %s: %w", e.ID, err))
		}
	}
	return errors.Join(errs...)
}

// expire acts on one lease.
func (q *Queue) expire(ctx context.Context, sessionID, runID string) error {
	return q.store.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		s, err := tx.LockSession(ctx, sessionID)
		if err != nil {
			return err
		}
		r, err := s.LockRun(ctx, runID)
		if err != nil {
			return err
		}
		over, err := tx.Q.RunLeaseIsOver(ctx, r.ID)
		if err != nil {
			return fmt.Errorf("look at the lease: %w", err)
		}
		// Renewed or ended in between; or the database was away in between.
		if !over || !r.Status.Active() || !q.mayExpire(r.LeaseDuration) {
			return nil
		}
		asked, err := run.Inputs(ctx, tx, r.ID)
		if err != nil {
			return err
		}
		logging.OfRun(q.logger, r.ID, s.ID).WarnContext(ctx, "lease ran out", "status", r.Status)
		return run.Expire(ctx, s, r, asked[r.ID].Config)
	})
}

// FailOrphanedExports ends the exports that are pending by workers that are gone: a
// session must not wait for what nobody will report. One that cannot be ended
// holds up no other.
func (q *Queue) FailOrphanedExports(ctx context.Context) error {
	if !q.mayJudgeWorkers() {
		return nil
	}
	ids, err := q.store.Read().SessionListOrphanedExports(ctx, q.timing.WorkerGone, expiryBatch)
	if err != nil {
		return fmt.Errorf("list exports of workers that are gone: %w", err)
	}
	var errs []error
	for _, id := range ids {
		if err := q.failOrphanedExport(ctx, id); err != nil {
			errs = append(errs, fmt.Errorf("end the export of session %s: %w", id, err))
		}
	}
	return errors.Join(errs...)
}

func (q *Queue) failOrphanedExport(ctx context.Context, sessionID string) error {
	return q.store.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		s, err := tx.LockSession(ctx, sessionID)
		if err != nil {
			return err
		}
		worker := ""
		if s.WorkerID != nil {
			worker = *s.WorkerID
		}
		gone, err := tx.Q.WorkerIsGone(ctx, worker, q.timing.WorkerGone)
		if err != nil {
			return fmt.Errorf("look for the worker: %w", err)
		}
		if !gone || !q.mayJudgeWorkers() || s.ExportStatus != dbtype.ExportPending || s.ActiveRunID != nil {
			return nil // it came back, reported, or a run will ask again
		}
		return run.FailExport(ctx, s, fmt.Sprintf(
			"The executor manager %q, which has the workspace, was not heard of for %s. Export again when it is back.", worker, q.timing.WorkerGone))
	})
}
