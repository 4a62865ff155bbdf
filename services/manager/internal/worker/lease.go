package worker

import (
	"context"
	"time"

	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/manager/internal/runchannel"
)

const (
	// renewShare: leases are renewed every third of their duration.
	renewShare = 3
	// renewRetry is how soon a failed renewal is tried again.
	renewRetry = time.Second
)

// keepLeases renews all leases in one call, again and again. Only the backend's
// answer says whether a lease is lost: one that ran out while the backend was
// away is renewed when it is back.
func (w *Worker) keepLeases(ctx context.Context) {
	interval := w.lease() / renewShare
	timer := time.NewTimer(interval)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		for _, r := range w.heldRuns() {
			r.link.Suspend()
		}
		next := interval
		if !w.renewLeases(ctx, interval) {
			next = min(interval, renewRetry)
		}
		timer.Reset(next)
	}
}

func (w *Worker) heldRuns() []*heldRun {
	w.mu.Lock()
	defer w.mu.Unlock()
	runs := make([]*heldRun, 0, w.count)
	for _, r := range w.runs {
		runs = append(runs, r)
	}
	return runs
}

// renewLeases renews the leases of all held runs; false when the backend did
// not answer.
func (w *Worker) renewLeases(ctx context.Context, timeout time.Duration) bool {
	req := &queuev1.RenewLeasesRequest{WorkerId: w.opts.Identity.WorkerID, LeaseDuration: w.leaseProto()}
	for _, r := range w.heldRuns() {
		select {
		case <-r.link.Done():
			if !r.finishing.Load() {
				continue // nothing to hold any more
			}
		default:
		}
		req.Leases = append(req.Leases, &queuev1.Lease{RunId: r.id, FencingToken: r.claim.GetFencingToken()})
	}
	if len(req.GetLeases()) == 0 {
		return true
	}
	asked := w.now()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	resp, err := w.opts.Queue.RenewLeases(ctx, req)
	if err != nil {
		w.logger.Warn("leases cannot be renewed", "runs", len(req.GetLeases()), logging.KeyError, err)
		return false
	}
	for _, renewal := range resp.GetRenewals() {
		w.renewed(renewal, asked)
	}
	return true
}

func (w *Worker) renewed(renewal *queuev1.LeaseRenewal, asked time.Time) {
	r := w.held(renewal.GetRunId())
	switch {
	case r == nil:
	case renewal.GetRenewed():
		// Counted from before the call: the backend's clock started no earlier.
		r.link.Renew(asked.Add(renewal.GetLeaseDuration().AsDuration()))
	case runchannel.Final(renewal.GetStatus()):
		r.link.Finalize(renewal.GetStatus())
	default:
		r.link.Revoke("the lease was not renewed")
	}
}
