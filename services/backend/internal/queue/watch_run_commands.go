package queue

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/gen/go/poco/queue/v1/queuev1connect"
	"github.com/poco-ai/poco/services/backend/internal/hint"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/backend/internal/watch"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// WatchRunCommands streams a worker's commands.
func (q *Queue) WatchRunCommands(ctx context.Context, req *queuev1.WatchRunCommandsRequest, stream queuev1connect.RunQueueServiceWatchRunCommandsServerStream) error {
	return q.WatchCommands(ctx, req.GetWorkerId(), stream.Send)
}

// WatchCommands streams a worker's commands until ctx is done: each one once, the
// unacknowledged ones of earlier streams included.
func (q *Queue) WatchCommands(ctx context.Context, worker string, send func(*queuev1.WatchRunCommandsResponse) error) error {
	hints := q.bus.Subscribe(hint.Commands(worker))
	defer hints.Close()
	poll := time.NewTicker(watch.PollInterval)
	defer poll.Stop()
	silence := time.NewTimer(q.Heartbeat)
	defer silence.Stop()
	emit := func(m *queuev1.WatchRunCommandsResponse) error {
		silence.Reset(q.Heartbeat)
		return send(m)
	}
	// It says that the stream is open.
	if err := emit(&queuev1.WatchRunCommandsResponse{}); err != nil {
		return err
	}
	sent := make(map[string]bool)
	for {
		var err error
		if sent, err = q.sendCommands(ctx, worker, sent, emit); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-hints.Ready():
		case <-poll.C:
		case <-silence.C:
			if err := emit(&queuev1.WatchRunCommandsResponse{}); err != nil {
				return err
			}
		}
	}
}

// sendCommands sends what was not sent before, one at a time: an answer may be
// long. It returns what is open now; what is acknowledged need not be remembered.
func (q *Queue) sendCommands(ctx context.Context, worker string, sent map[string]bool, send func(*queuev1.WatchRunCommandsResponse) error) (map[string]bool, error) {
	ids, err := q.store.Read().RunCommandListIDs(ctx, worker)
	if err != nil {
		return nil, unreadable(ctx, fmt.Errorf("list commands: %w", err))
	}
	open := make(map[string]bool, len(ids))
	for _, id := range ids {
		open[id] = true
		if sent[id] {
			continue
		}
		raw, err := q.store.Read().RunCommandGet(ctx, id)
		if store.IsNotFound(err) {
			continue // dropped meanwhile
		}
		if err != nil {
			return nil, unreadable(ctx, fmt.Errorf("read command: %w", err))
		}
		cmd := new(queuev1.RunCommand)
		if err := proto.Unmarshal(raw, cmd); err != nil {
			return nil, fmt.Errorf("decode command %s: %w", id, err)
		}
		if err := send(&queuev1.WatchRunCommandsResponse{Command: cmd}); err != nil {
			return nil, err
		}
	}
	return open, nil
}

func unreadable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return rpcerror.Unavailable(backendv1.ErrorReason_ERROR_REASON_DATABASE_UNAVAILABLE, "the commands cannot be read now; watch again").WithCause(err)
}
