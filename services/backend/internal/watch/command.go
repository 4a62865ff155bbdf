package watch

import (
	"context"
	"time"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// Commands are what workers have to do.
type Commands interface {
	// Commands lists the ids of what a worker has not acknowledged.
	Commands(ctx context.Context, worker string) ([]string, error)
	// Command reads one; nil when it was dropped meanwhile.
	Command(ctx context.Context, id string) (*queuev1.RunCommand, error)
}

// Commands streams a worker's commands until ctx is done: each one once, the
// unacknowledged ones of earlier streams included.
func (h *Hub) Commands(ctx context.Context, worker string, from Commands, send func(*queuev1.WatchRunCommandsResponse) error) error {
	signal, release := h.Worker(worker)
	defer release()
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	silence := time.NewTimer(0) // the first heartbeat says that the stream is open
	defer silence.Stop()
	emit := func(m *queuev1.WatchRunCommandsResponse) error {
		silence.Reset(h.Heartbeat)
		return send(m)
	}
	sent := make(map[string]bool)
	for {
		changed := signal.C()
		var err error
		if sent, err = sendCommands(ctx, worker, from, sent, emit); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
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
func sendCommands(ctx context.Context, worker string, from Commands, sent map[string]bool, send func(*queuev1.WatchRunCommandsResponse) error) (map[string]bool, error) {
	ids, err := from.Commands(ctx, worker)
	if err != nil {
		return nil, unreadable(ctx, err)
	}
	open := make(map[string]bool, len(ids))
	for _, id := range ids {
		open[id] = true
		if sent[id] {
			continue
		}
		cmd, err := from.Command(ctx, id)
		if err != nil {
			return nil, unreadable(ctx, err)
		}
		if cmd == nil {
			continue
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
