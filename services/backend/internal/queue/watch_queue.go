package queue

import (
	"context"
	"time"

	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/gen/go/poco/queue/v1/queuev1connect"
	"github.com/poco-ai/poco/services/backend/internal/hint"
)

// WatchQueue streams hints that runs may be waiting until ctx is done: one at
// once, one for each sign of a run, and one as a heartbeat.
func (q *Queue) WatchQueue(ctx context.Context, _ *queuev1.WatchQueueRequest, stream queuev1connect.RunQueueServiceWatchQueueServerStream) error {
	hints := q.bus.Subscribe(hint.Queue())
	defer hints.Close()
	silence := time.NewTimer(q.Heartbeat)
	defer silence.Stop()
	for {
		if err := stream.Send(&queuev1.WatchQueueResponse{}); err != nil {
			return err
		}
		silence.Reset(q.Heartbeat)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-hints.Ready():
		case <-silence.C:
		}
	}
}
