package queue

import (
	"context"
	"fmt"

	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
)

// AckCommand drops a command. Dropping it twice is the same.
func (q *Queue) AckCommand(ctx context.Context, worker, id string) error {
	if err := q.store.Read().RunCommandDelete(ctx, id, worker); err != nil {
		return fmt.Errorf("drop command: %w", err)
	}
	return nil
}

// AckRunCommand implements RunQueueService.
func (q *Queue) AckRunCommand(ctx context.Context, req *queuev1.AckRunCommandRequest) (*queuev1.AckRunCommandResponse, error) {
	if err := q.AckCommand(ctx, req.GetWorkerId(), req.GetCommandId()); err != nil {
		return nil, err
	}
	return &queuev1.AckRunCommandResponse{}, nil
}
