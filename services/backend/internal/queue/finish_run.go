package queue

import (
	"context"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/backend/internal/run"
	"github.com/poco-ai/poco/services/backend/internal/store"
)

// Finish ends a run whose executor cannot say so itself. One that goes on with
// another executor is queued again.
func (q *Queue) Finish(ctx context.Context, runID string, token int64, outcome run.Outcome) (*backendv1.Run, error) {
	var result *backendv1.Run
	err := q.change(ctx, runID, token, func(ctx context.Context, s *store.Session, r *store.Run) error {
		if !r.Status.Final() {
			if err := run.EndAttempt(ctx, s, r, outcome); err != nil {
				return err
			}
		}
		result = run.Proto(&r.Run)
		return nil
	})
	return result, err
}

// FinishRun implements RunQueueService.
func (q *Queue) FinishRun(ctx context.Context, req *queuev1.FinishRunRequest) (*queuev1.FinishRunResponse, error) {
	r, err := q.Finish(ctx, req.GetRunId(), req.GetFencingToken(), run.Outcome{
		Status: store.RunStatusText(req.GetStatus()), Reason: req.GetReason(), Message: req.GetMessage(),
	})
	if err != nil {
		return nil, err
	}
	return &queuev1.FinishRunResponse{Run: r}, nil
}
