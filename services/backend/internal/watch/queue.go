package watch

import (
	"context"
	"time"

	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
)

// Claims streams hints that runs may be waiting until ctx is done: one at once,
// one for each sign of a run, and one as a heartbeat.
func (h *Hub) Claims(ctx context.Context, send func(*queuev1.WatchQueueResponse) error) error {
	silence := time.NewTimer(h.Heartbeat)
	defer silence.Stop()
	for {
		changed := h.Queue.C()
		if err := send(&queuev1.WatchQueueResponse{}); err != nil {
			return err
		}
		silence.Reset(h.Heartbeat)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		case <-silence.C:
		}
	}
}
