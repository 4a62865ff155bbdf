package queue

import (
	"context"

	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/gen/go/poco/queue/v1/queuev1connect"
)

// WatchQueue implements RunQueueService.
func (q *Queue) WatchQueue(ctx context.Context, _ *queuev1.WatchQueueRequest, stream queuev1connect.RunQueueServiceWatchQueueServerStream) error {
	return q.hub.Claims(ctx, stream.Send)
}
