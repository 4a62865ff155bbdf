package claude

import (
	"fmt"
	"slices"
	"strings"
	"time"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/executor/internal/agent"
	"github.com/poco-ai/poco/services/executor/internal/process"
)

const (
	// wakeTimeout is how long the CLI may take to begin the turn that the end
	// of something in the background is told in. Measured: 50 ms.
	wakeTimeout = 10 * time.Second
)

// rest is called when the CLI may have nothing left to do. The run is over
// when its turn is and nothing that it started works any more; until then the
// CLI is left alone, because the end of a task wakes it for another turn.
func (a *Agent) rest() {
	if a.result == nil || a.finished || a.ending != nil {
		return
	}
	if !a.work.turnOver() {
		a.resting = false
		return
	}
	a.translator.forget("") // A call without an answer now never gets one.
	left := a.left()
	if failed := a.result.Status != completedStatus; failed && len(left) > 0 {
		a.notice(agent.NoticeStopped, "Stopped with the run, which had failed: "+strings.Join(left, ", "))
	} else if !failed && (len(left) > 0 || len(a.work.tasks) > 0) {
		a.wait(left)
		return
	}
	a.finish()
}

// wait lets what was started go on, and says so.
func (a *Agent) wait(left []string) {
	a.resting = true
	if len(left) == 0 || slices.Equal(left, a.waitsFor) {
		return
	}
	a.waitsFor = left
	a.inform(agent.NoticeWaiting, "The agent's turn is over. The run goes on while this still works: "+strings.Join(left, ", "))
}

// finish ends the CLI after its last result, which is the run's.
func (a *Agent) finish() {
	a.finished, a.resting = true, false
	a.process.CloseInput()
	a.escalateAfter(exitTimeout, a.process.Close)
}

// left names what still works: the CLI's own tasks, and commands that outlived
// the shell that started them, of which the CLI knows nothing.
func (a *Agent) left() []string {
	var left []string
	for _, t := range a.work.running() {
		left = append(left, process.Quote(t.what))
	}
	if len(a.work.tasks) > 0 {
		return left // The others are looked at when these have ended.
	}
	for _, p := range process.LeftBehind() {
		left = append(left, process.Quote(p.Command))
		a.watchExit(p.PID)
	}
	return left
}

// watchExit calls rest when a process that was left behind has ended. One at a
// time is enough: rest looks for the next one.
func (a *Agent) watchExit(pid int) {
	if a.watched {
		return
	}
	a.watched = true
	a.watchers.Go(func() {
		process.AwaitExit(pid)
		a.call(func() {
			a.watched = false
			a.lastLine = time.Now()
			a.rest()
		})
	})
}

// backgroundExpired ends the run although something still works.
func (a *Agent) backgroundExpired() {
	left := a.left()
	if len(left) == 0 { // The CLI did not begin the turn that it should have.
		a.finish()
		return
	}
	message := fmt.Sprintf("Stopped with the run, %s after the last sign of life (RUN_BACKGROUND_TIMEOUT_SECONDS): %s",
		a.opts.BackgroundTimeout, strings.Join(left, ", "))
	a.notice(agent.NoticeStopped, message)
	// A command may be a server that was meant to stay. An agent has work that
	// is not done.
	if slices.ContainsFunc(a.work.running(), func(t *task) bool { return t.kind != kindCommand }) {
		failed := agent.Failed(backendv1.RunReason_RUN_REASON_BACKGROUND_TIMEOUT, "%s", message)
		a.result = &failed
	}
	a.finished, a.resting = true, false
	a.process.Terminate()
	a.escalateAfter(terminateTimeout, a.process.Close)
}

// observeWork keeps up with what the CLI has under way, and tells what it
// stopped without being asked: a sub-agent's commands end with it.
func (a *Agent) observeWork(subtype string, data []byte) {
	stopped := a.work.observe(subtype, data, a.translator.describeCall)
	if stopped == nil {
		return
	}
	a.translator.forget(stopped.call)
	if !a.translator.calling("TaskStop", "KillShell") {
		a.notice(agent.NoticeStopped, "Claude Code stopped what ran in the background: "+process.Quote(stopped.what))
	}
}
