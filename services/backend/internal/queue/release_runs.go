package queue

import (
	"context"
	"errors"

	"connectrpc.com/connect/v2"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/backend/internal/run"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// Release gives back runs that their worker has given to no executor. What is
// not the worker's any more stays as it is.
func (q *Queue) Release(ctx context.Context, leases []*queuev1.Lease) error {
	var errs []error
	for _, l := range leases {
		err := q.change(ctx, l.GetRunId(), l.GetFencingToken(), func(ctx context.Context, s *store.Session, r *store.Run) error {
			if r.Status.Final() {
				return nil
			}
			return run.Release(ctx, s, r)
		})
		if err != nil && rpcerror.Reason(err) != backendv1.ErrorReason_ERROR_REASON_FENCING_TOKEN_STALE && rpcerror.CodeOf(err) != connect.CodeNotFound {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// ReleaseRuns implements RunQueueService.
func (q *Queue) ReleaseRuns(ctx context.Context, req *queuev1.ReleaseRunsRequest) (*queuev1.ReleaseRunsResponse, error) {
	if err := q.Release(ctx, req.GetLeases()); err != nil {
		return nil, err
	}
	return &queuev1.ReleaseRunsResponse{}, nil
}
