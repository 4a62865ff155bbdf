package queue

import (
	"context"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/rpcerror"
	"github.com/poco-ai/poco/services/internal/sanitize"
)

// Recover stores what the executor of a run that has ended had not delivered,
// for the worker that held the run last. The run and the session's state stay
// as they are: only what happened is added to the record.
func (q *Queue) Recover(ctx context.Context, worker, runID string, attempt int32, events []*executorv1.RunEvent) (int64, error) {
	if err := checkBatch(events); err != nil {
		return 0, err
	}
	for _, e := range events {
		sanitize.Event(e.GetPayload())
	}
	var acked int64
	err := q.store.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		s, r, err := tx.LockRunWithSession(ctx, runID)
		if store.IsNotFound(err) {
			return rpcerror.NotFound("run", runID)
		}
		if err != nil {
			return err
		}
		logging.About(ctx, runID, s.ID)
		switch {
		case !r.Status.Final(): // nor is it anybody's, when it waits for its next attempt
			return rpcerror.FailedPrecondition(backendv1.ErrorReason_ERROR_REASON_RUN_NOT_FINISHED, "the run has not ended", nil)
		case r.WorkerID == nil || *r.WorkerID != worker:
			return rpcerror.FailedPrecondition(backendv1.ErrorReason_ERROR_REASON_FENCING_TOKEN_STALE, "another worker held the run", nil)
		}
		err = recoverNew(ctx, s, r, attempt, newOf(r, events))
		acked = r.LastRunSeq
		return err
	})
	return acked, err
}

func recoverNew(ctx context.Context, s *store.Session, r *store.Run, attempt int32, events []*executorv1.RunEvent) error {
	if len(events) == 0 {
		return nil
	}
	if events[0].GetRunSeq() != r.LastRunSeq+1 {
		return gap(r)
	}
	p := projection{session: s, run: r, attempt: attempt, late: true}
	for _, e := range events {
		if e.GetPayload().GetRunFinished() != nil {
			break // the run has an end already
		}
		if err := p.apply(ctx, e); err != nil {
			return err
		}
	}
	return p.finish(ctx)
}

// RecoverRunEvents implements RunQueueService.
func (q *Queue) RecoverRunEvents(ctx context.Context, req *queuev1.RecoverRunEventsRequest) (*queuev1.RecoverRunEventsResponse, error) {
	seq, err := q.Recover(ctx, req.GetWorkerId(), req.GetRunId(), req.GetAttempt(), req.GetEvents())
	if err != nil {
		return nil, err
	}
	return &queuev1.RecoverRunEventsResponse{AckedRunSeq: seq}, nil
}
