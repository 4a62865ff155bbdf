package run

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/executor/internal/workspace"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/retry"
)

const (
	// changesDelay is how long tool calls are collected before looking.
	changesDelay = 150 * time.Millisecond
	// changesRest keeps looking at changes from taking more than a fifth of
	// the time in a large workspace.
	changesRest = 4
)

// changeWatch looks at the workspace after tools ran, beside the agent's
// events and never in their way.
type changeWatch struct {
	workspace *workspace.Workspace
	emit      func(*executorv1.RunEventPayload)
	logger    *slog.Logger
	trigger   chan struct{}
	last      *backendv1.FilesChanged
	done      chan struct{}
	cancel    context.CancelFunc
}

func watchChanges(ctx context.Context, w *workspace.Workspace, emit func(*executorv1.RunEventPayload), logger *slog.Logger) *changeWatch {
	ctx, cancel := context.WithCancel(ctx)
	c := &changeWatch{
		workspace: w, emit: emit, logger: logger, trigger: make(chan struct{}, 1),
		last: &backendv1.FilesChanged{}, done: make(chan struct{}), cancel: cancel,
	}
	go func() {
		defer close(c.done)
		c.loop(ctx)
	}()
	return c
}

// mayHaveChanged asks for a look; it never blocks.
func (c *changeWatch) mayHaveChanged() {
	select {
	case c.trigger <- struct{}{}:
	default:
	}
}

func (c *changeWatch) loop(ctx context.Context) {
	rest := changesDelay
	for {
		select {
		case <-c.trigger:
		case <-ctx.Done():
			return
		}
		if !retry.Pause(ctx, rest) {
			return
		}
		select {
		case <-c.trigger: // It is covered by the look that follows.
		default:
		}
		begun := time.Now()
		if _, err := c.look(ctx); err != nil && ctx.Err() == nil {
			c.logger.WarnContext(ctx, "file changes cannot be determined", logging.KeyError, err)
		}
		rest = max(changesDelay, changesRest*time.Since(begun))
	}
}

// look reports the changes if they are others than before, and returns what it
// could not see.
func (c *changeWatch) look(ctx context.Context) (missing string, err error) {
	changed, missing, err := c.workspace.Changes(ctx)
	if err != nil {
		return "", err
	}
	if !sameChanges(c.last, changed) {
		c.last = changed
		c.emit(&executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_FilesChanged{FilesChanged: changed}})
	}
	return missing, nil
}

func sameChanges(a, b *backendv1.FilesChanged) bool {
	if len(a.GetFiles()) != len(b.GetFiles()) || a.GetTotalFiles() != b.GetTotalFiles() || a.GetTotalAdditions() != b.GetTotalAdditions() || a.GetTotalDeletions() != b.GetTotalDeletions() {
		return false
	}
	for i := range a.GetFiles() {
		if !proto.Equal(a.GetFiles()[i], b.GetFiles()[i]) {
			return false
		}
	}
	return true
}

// stop ends the watch; a look that is under way is given up.
func (c *changeWatch) stop() {
	c.cancel()
	<-c.done
}
