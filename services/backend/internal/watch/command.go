package watch

import (
	"context"
	"time"

	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// Commands streams a worker's commands until ctx is done: each one once, the
// unacknowledged ones of earlier streams included.
func (h *Hub) Commands(
	ctx context.Context, worker string,
	list func(ctx context.Context, worker string) ([]*queuev1.RunCommand, error), send func(*queuev1.RunCommand) error,
) error {
	signal, release := h.Worker(worker)
	defer release()
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	sent := make(map[string]bool)
	for {
		changed := signal.C()
		commands, err := list(ctx, worker)
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return rpcerror.Unavailable("DATABASE_UNAVAILABLE", "the commands cannot be read now; watch again").WithCause(err)
		}
		open := make(map[string]bool, len(commands))
		for _, cmd := range commands {
			open[cmd.GetId()] = true
			if sent[cmd.GetId()] {
				continue
			}
			if err := send(cmd); err != nil {
				return err
			}
		}
		sent = open // what is acknowledged need not be remembered
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		case <-poll.C:
		}
	}
}
