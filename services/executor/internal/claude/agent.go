// Package claude drives the Claude Code CLI by its stream-json protocol.
package claude

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/executor/internal/agent"
	"github.com/poco-ai/poco/services/executor/internal/process"
)

// Deadlines of the protocol. They are limits for a CLI that misbehaves, far
// above what was measured: initialize 0.3 s, interrupt 30 ms, exit 20 ms.
const (
	initializeTimeout = 60 * time.Second
	interruptTimeout  = 5 * time.Second
	terminateTimeout  = 3 * time.Second
	exitTimeout       = 5 * time.Second
)

// Options of an Agent.
type Options struct {
	agent.Task
	// Path of the CLI.
	Path string
}

// Agent runs one prompt. Create it with New and call Run once; the other
// methods may be called from any goroutine, before, during and after Run.
type Agent struct {
	opts Options
	sink agent.Sink
	// calls are executed by Run's goroutine, which owns all state below.
	calls chan func()
	done  chan struct{}
	*process.Holder

	process    *process.Process
	translator *translator
	questions  map[string]*question
	// ending is why the run is being ended, nil while it goes on.
	ending *agent.Outcome
	// result is the CLI's own verdict on its latest turn. It is the run's once
	// the agent has finished: a turn may be followed by another.
	result   *agent.Outcome
	finished bool
	work     work
	// resting: the turn is over, and something in the background is not.
	resting  bool
	waitsFor []string
	// watched: a watcher waits for a process that was left behind.
	watched  bool
	watchers sync.WaitGroup
	// continued counts how often the model was asked to go on with an answer that
	// broke off.
	continued int32
	usage     *backendv1.Usage
	submitted bool
	started   bool
	// planning: the CLI is in plan mode, until a person approves the plan.
	planning bool
	garbage  int
	lastLine time.Time
	// silentUntil extends the idle timeout over a wait that was announced.
	silentUntil time.Time
	startedAt   time.Time
	// kill is the next, harder step for a CLI that does not end.
	kill     *time.Timer
	killStep func()
	deadline *time.Timer
}

// New returns an agent that has not started.
func New(opts Options, sink agent.Sink) *Agent {
	if opts.UserInputTimeout <= 0 {
		opts.UserInputTimeout = agent.DefaultUserInputTimeout
	}
	return &Agent{
		opts: opts, sink: sink, calls: make(chan func()), done: make(chan struct{}), Holder: process.NewHolder(),
		translator: newTranslator(opts.ResumeID != ""), questions: map[string]*question{},
		work: work{tasks: map[string]*task{}},
	}
}

// End asks the agent to stop: it is interrupted, and killed when that does not
// help. The run ends with the given outcome; the first one counts.
func (a *Agent) End(outcome agent.Outcome) { a.call(func() { a.end(outcome, true) }) }

// Answer gives a person's answers to a question. It does nothing for a
// question that is not waiting (any more). It returns when the answer is on
// its way to the CLI, or the agent has ended.
func (a *Agent) Answer(id string, answers []*backendv1.UserAnswer) {
	a.settle(id, func(q *question) permission { return q.answer(answers) })
}

// Decline tells the agent that a question will not be answered. Otherwise it
// is like Answer.
func (a *Agent) Decline(id string) {
	a.settle(id, func(*question) permission { return deny(questionTimedOut) })
}

func (a *Agent) settle(id string, decide func(*question) permission) {
	answered := make(chan struct{})
	a.call(func() {
		defer close(answered)
		if q := a.questions[id]; q != nil {
			a.resolve(q, decide(q))
		}
	})
	select {
	case <-answered:
	case <-a.done:
	}
}

func (a *Agent) call(f func()) {
	select {
	case a.calls <- f:
	case <-a.done:
	}
}

// Run runs the CLI until it has ended and is reaped. When ctx ends first, the
// CLI is killed at once and the outcome is the context's cause, if that is an
// agent.Outcome (see agent.StopError).
func (a *Agent) Run(ctx context.Context) agent.Outcome {
	defer a.watchers.Wait()
	defer close(a.done)
	files, err := writeSettings(&a.opts.Task)
	if err != nil {
		return agent.Failed(backendv1.RunReason_RUN_REASON_WORKSPACE_ERROR, "What the run's environment has for the agent could not be written: %v", err)
	}
	defer files.remove()
	env, ignored := environment(&a.opts)
	if len(ignored) > 0 {
		a.sink.Emit(agent.VariablesIgnored(ignored))
	}
	if err := os.MkdirAll(a.opts.HomeDir, 0o755); err != nil {
		return agent.Failed(backendv1.RunReason_RUN_REASON_WORKSPACE_ERROR, "The agent's home folder cannot be created: %v", err)
	}
	if ignored := ignoredSettings(a.opts.Dir); len(ignored) > 0 {
		a.inform(noticeIgnored, "Poco decides this, so it is not taken from the project's files: "+strings.Join(ignored, ", "))
	}
	a.restoreConversation()
	a.process, err = process.Start(a.opts.Path, arguments(&a.opts, files), a.opts.Dir, env)
	if err != nil {
		return agent.NotStarted("Claude Code", err)
	}
	defer a.process.Close()
	a.Started(a.process)
	a.startedAt = time.Now()
	a.lastLine = a.startedAt
	a.kill = newStoppedTimer()
	a.deadline = newStoppedTimer()
	defer a.kill.Stop()
	defer a.deadline.Stop()
	a.escalateAfter(initializeTimeout, func() {
		a.end(agent.Failed(backendv1.RunReason_RUN_REASON_AGENT_PROTOCOL_ERROR, "The Claude Code CLI did not answer the initialize request within %s.", initializeTimeout), false)
	})
	a.send(initializeRequest(initializeID))
	a.catchUp(ctx)
	a.loop(ctx)
	if a.garbage > 1 {
		a.notice(agent.NoticeGarbage, fmt.Sprintf("%d unreadable lines of the Claude Code CLI were ignored in all.", a.garbage))
	}
	return a.outcome(ctx)
}

// loop reads the CLI until it is gone.
func (a *Agent) loop(ctx context.Context) {
	lines := a.process.Lines
	for {
		a.armDeadline()
		readable, room := lines, a.sink.Room()
		if room != nil {
			readable = nil
		}
		select {
		case <-ctx.Done():
			return
		case l, ok := <-readable:
			if !ok {
				lines = nil
				// Nothing more can come: let it go quickly.
				a.process.CloseInput()
				a.escalateAfter(exitTimeout, a.process.Close)
				break
			}
			a.lastLine = time.Now()
			a.read(l)
		case <-room:
			a.lastLine = time.Now() // It was not the CLI that was silent.
		case f := <-a.calls:
			f()
		case <-a.Released():
			a.lastLine = time.Now()
		case <-a.kill.C:
			if a.Held() && a.ending == nil {
				a.kill.Reset(initializeTimeout) // It was not the CLI that took its time.
				break
			}
			a.killStep()
		case <-a.deadline.C:
			a.expire(time.Now())
		case <-a.exited(lines):
			return
		}
	}
}

// exited is the process's end, once everything it wrote is read.
func (a *Agent) exited(lines <-chan process.Line) <-chan struct{} {
	if lines != nil {
		return nil
	}
	return a.process.Exited
}

// armDeadline sets the timer to the next moment at which a question or the
// CLI's silence runs out.
func (a *Agent) armDeadline() {
	next, _ := a.patience()
	for _, q := range a.questions {
		if next.IsZero() || q.expires.Before(next) {
			next = q.expires
		}
	}
	a.deadline.Stop()
	if !next.IsZero() {
		a.deadline.Reset(time.Until(next))
	}
}

// patience tells when the CLI will have been silent for too long, and what is
// done then; the zero time when it may be silent.
func (a *Agent) patience() (until time.Time, over func()) {
	switch {
	case a.ending != nil || a.finished || len(a.questions) > 0 || a.sink.Room() != nil:
		return time.Time{}, nil
	case a.resting && len(a.work.running()) == 0 && len(a.work.tasks) > 0:
		return a.lastLine.Add(wakeTimeout), a.backgroundExpired
	case a.resting && a.opts.BackgroundTimeout > 0:
		return a.lastLine.Add(a.opts.BackgroundTimeout), a.backgroundExpired
	case a.resting || a.opts.IdleTimeout <= 0 || !a.submitted || a.busy():
		return time.Time{}, nil
	default:
		return a.idleAt(), a.idle
	}
}

// busy says whether something is known to be under way about which the CLI
// does not say a word until it is done. How long that may take is for the
// CLI's own limits, and the run's.
func (a *Agent) busy() bool {
	return len(a.translator.tools) > 0 || len(a.work.tasks) > 0 || a.work.compacting
}

func (a *Agent) idleAt() time.Time {
	if a.silentUntil.After(a.lastLine) {
		return a.silentUntil.Add(a.opts.IdleTimeout)
	}
	return a.lastLine.Add(a.opts.IdleTimeout)
}

func (a *Agent) idle() {
	a.end(agent.Failed(backendv1.RunReason_RUN_REASON_IDLE_TIMEOUT, "The Claude Code CLI was silent for %s with nothing under way, the limit that RUN_IDLE_TIMEOUT_SECONDS sets.",
		a.opts.IdleTimeout), false)
}

// expire ends what has run out: questions, or else the CLI's silence.
func (a *Agent) expire(now time.Time) {
	if a.Held() {
		a.lastLine = now
	}
	for _, q := range a.questions {
		if !q.expires.After(now) {
			a.resolve(q, deny(questionTimedOut))
		}
	}
	if until, over := a.patience(); over != nil && !now.Before(until) {
		over()
	}
}

// end begins to stop the CLI. A polite end interrupts it first, which lets it
// report its usage.
func (a *Agent) end(outcome agent.Outcome, polite bool) {
	if a.ending != nil || a.finished {
		return
	}
	a.ending = &outcome
	for _, q := range a.questions {
		delete(a.questions, q.id)
	}
	terminate := func() {
		a.process.Terminate()
		a.escalateAfter(terminateTimeout, a.process.Close)
	}
	if !polite || !a.submitted || a.resting { // Between turns there is nothing to interrupt.
		terminate()
		return
	}
	a.send(control(interruptID, "interrupt"))
	a.escalateAfter(interruptTimeout, terminate)
}

// escalateAfter plans the next step for a CLI that does not do what it should.
func (a *Agent) escalateAfter(d time.Duration, step func()) {
	a.killStep = step
	a.kill.Stop()
	a.kill.Reset(d)
}

func (a *Agent) send(message any) {
	if err := a.process.Send(message); err != nil {
		a.end(agent.Failed(backendv1.RunReason_RUN_REASON_AGENT_PROTOCOL_ERROR, "A message for the CLI could not be encoded: %v", err), false)
	}
}

// outcome sums up, after the CLI is gone.
func (a *Agent) outcome(ctx context.Context) agent.Outcome {
	if ctx.Err() != nil {
		a.process.Close()
	}
	outcome := a.verdict(ctx)
	outcome.Usage = a.translator.usageSoFar(a.usage, time.Since(a.startedAt))
	return outcome
}

func (a *Agent) verdict(ctx context.Context) agent.Outcome {
	var stopped *agent.StopError
	switch {
	case a.ending != nil:
		return *a.ending
	case a.finished, a.result != nil && ctx.Err() == nil && len(a.work.tasks) == 0:
		return *a.result
	case errors.As(context.Cause(ctx), &stopped):
		return stopped.Outcome
	case ctx.Err() != nil:
		return agent.Canceled("the executor is shutting down")
	case a.opts.ResumeID != "" && !a.started && isUnknownConversation(a.process.Exit.Stderr):
		return resumeFailed(a.process.Exit.Stderr)
	default:
		missing := "a result"
		if a.result != nil {
			missing = "waiting for what ran in the background"
		}
		return agent.Failed(backendv1.RunReason_RUN_REASON_AGENT_CRASHED, "The Claude Code CLI ended without %s, %s", missing, a.process.Exit)
	}
}

func newStoppedTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}
