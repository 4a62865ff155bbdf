package rpc

import (
	"context"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/gen/go/poco/backend/v1/backendv1connect"
	"github.com/poco-ai/poco/services/backend/internal/task"
	"github.com/poco-ai/poco/services/internal/auth"
)

// TaskService is poco.backend.v1.TaskService.
type TaskService struct{ Tasks *task.Tasks }

var _ backendv1connect.TaskServiceHandler = (*TaskService)(nil)

// EnqueueTask implements TaskService.
func (s *TaskService) EnqueueTask(ctx context.Context, req *backendv1.EnqueueTaskRequest) (*backendv1.EnqueueTaskResponse, error) {
	enqueued, err := s.Tasks.Enqueue(ctx, auth.User(ctx), req)
	if err != nil {
		return nil, err
	}
	return &backendv1.EnqueueTaskResponse{
		SessionId: enqueued.SessionID, RunId: enqueued.RunID, Status: backendv1.RunStatus_RUN_STATUS_QUEUED,
		Session: enqueued.Session, Run: enqueued.Run,
	}, nil
}
