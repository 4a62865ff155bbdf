package queue

import (
	"context"

	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/backend/internal/store"
)

// CheckHeld returns nil when the run is held under the token.
func (q *Queue) CheckHeld(ctx context.Context, runID string, token int64) error {
	return q.change(ctx, runID, token, func(context.Context, *store.Session, *store.Run) error { return nil })
}

// ResolveRunConfig implements RunQueueService. There are no installs, projects and
// variables yet, so every run's environment is empty.
func (q *Queue) ResolveRunConfig(ctx context.Context, req *queuev1.ResolveRunConfigRequest) (*queuev1.ResolveRunConfigResponse, error) {
	if err := q.CheckHeld(ctx, req.GetRunId(), req.GetFencingToken()); err != nil {
		return nil, err
	}
	return &queuev1.ResolveRunConfigResponse{Environment: &executorv1.RunEnvironment{}}, nil
}
