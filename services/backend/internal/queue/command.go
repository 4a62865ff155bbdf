package queue

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
)

// Commands lists what a worker has not acknowledged, oldest first.
func (q *Queue) Commands(ctx context.Context, worker string) ([]*queuev1.RunCommand, error) {
	rows, err := q.store.Read().RunCommandList(ctx, worker)
	if err != nil {
		return nil, fmt.Errorf("list commands: %w", err)
	}
	commands := make([]*queuev1.RunCommand, 0, len(rows))
	for _, row := range rows {
		cmd := new(queuev1.RunCommand)
		if err := proto.Unmarshal(row.Command, cmd); err != nil {
			return nil, fmt.Errorf("decode command %s: %w", row.ID, err)
		}
		commands = append(commands, cmd)
	}
	return commands, nil
}

// AckCommand drops a command. Dropping it twice is the same.
func (q *Queue) AckCommand(ctx context.Context, worker, id string) error {
	if err := q.store.Read().RunCommandDelete(ctx, id, worker); err != nil {
		return fmt.Errorf("drop command: %w", err)
	}
	return nil
}
