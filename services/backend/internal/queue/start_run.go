package queue

import (
	"context"

	"github.com/poco-ai/poco/db/dbtype"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/backend/internal/run"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// Start marks a run as running; see run.Start. A second call changes nothing.
func (q *Queue) Start(ctx context.Context, runID string, token int64) (*backendv1.Run, error) {
	var result *backendv1.Run
	err := q.change(ctx, runID, token, func(ctx context.Context, s *store.Session, r *store.Run) error {
		switch r.Status {
		case dbtype.RunClaimed:
			if err := run.Start(ctx, s, r); err != nil {
				return err
			}
		case dbtype.RunRunning:
		case dbtype.RunCanceling, dbtype.RunCanceled:
			return rpcerror.FailedPrecondition(backendv1.ErrorReason_ERROR_REASON_RUN_CANCELED, "the run was canceled before it started", nil)
		default:
			return rpcerror.FailedPrecondition(backendv1.ErrorReason_ERROR_REASON_RUN_FINISHED, "the run has ended", nil)
		}
		result = run.Proto(&r.Run)
		return nil
	})
	return result, err
}

// StartRun implements RunQueueService.
func (q *Queue) StartRun(ctx context.Context, req *queuev1.StartRunRequest) (*queuev1.StartRunResponse, error) {
	r, err := q.Start(ctx, req.GetRunId(), req.GetFencingToken())
	if err != nil {
		return nil, err
	}
	return &queuev1.StartRunResponse{Run: r}, nil
}
