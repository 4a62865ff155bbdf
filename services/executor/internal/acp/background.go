package acp

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/poco-ai/poco/services/executor/internal/agent"
	"github.com/poco-ai/poco/services/executor/internal/process"
)

// awaitLeftBehind waits for the commands that outlived the agent's turn: a run is
// over when nothing of it works any more.
func (a *acpAgent) awaitLeftBehind(ctx context.Context) {
	limit := (<-chan time.Time)(nil)
	if a.task.BackgroundTimeout > 0 {
		timer := time.NewTimer(a.task.BackgroundTimeout)
		defer timer.Stop()
		limit = timer.C
	}
	told := false
	for left := process.LeftBehind(); len(left) > 0; left = process.LeftBehind() {
		names := make([]string, 0, len(left))
		for _, p := range left {
			names = append(names, process.Quote(p.Command))
		}
		if !told {
			told = true
			a.emit(agent.Information(agent.NoticeWaiting, "The agent's turn is over. The run goes on while this still works: "+strings.Join(names, ", ")))
		}
		gone := make(chan struct{})
		go func() { // It ends with the process, which is ended below.
			defer close(gone)
			process.AwaitExit(left[0].PID)
		}()
		select {
		case <-gone:
		case <-limit:
			a.emit(agent.Warning(agent.NoticeStopped, fmt.Sprintf("Stopped with the run, %s after the agent's turn (RUN_BACKGROUND_TIMEOUT_SECONDS): %s",
				a.task.BackgroundTimeout, strings.Join(names, ", "))))
			return
		case <-a.process.Exited:
			return
		case <-ctx.Done():
			return
		}
	}
}
