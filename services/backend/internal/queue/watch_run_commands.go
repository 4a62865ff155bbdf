package queue

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/gen/go/poco/queue/v1/queuev1connect"
	"github.com/poco-ai/poco/services/backend/internal/store"
)

// Commands lists the ids of what a worker has not acknowledged, oldest first.
func (q *Queue) Commands(ctx context.Context, worker string) ([]string, error) {
	ids, err := q.store.Read().RunCommandListIDs(ctx, worker)
	if err != nil {
		return nil, fmt.Errorf("list commands: %w", err)
	}
	return ids, nil
}

// Command reads one of them; nil when it was dropped meanwhile.
func (q *Queue) Command(ctx context.Context, id string) (*queuev1.RunCommand, error) {
	raw, err := q.store.Read().RunCommandGet(ctx, id)
	if store.IsNotFound(err) {
		return nil, nil //nolint:nilnil // said above
	}
	if err != nil {
		return nil, fmt.Errorf("read command: %w", err)
	}
	cmd := new(queuev1.RunCommand)
	if err := proto.Unmarshal(raw, cmd); err != nil {
		return nil, fmt.Errorf("decode command %s: %w", id, err)
	}
	return cmd, nil
}

// WatchRunCommands implements RunQueueService.
func (q *Queue) WatchRunCommands(ctx context.Context, req *queuev1.WatchRunCommandsRequest, stream queuev1connect.RunQueueServiceWatchRunCommandsServerStream) error {
	return q.hub.Commands(ctx, req.GetWorkerId(), q, stream.Send)
}
