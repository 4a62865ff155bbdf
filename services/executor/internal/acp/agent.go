package acp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/coder/acp-go-sdk"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/executor/internal/agent"
	"github.com/poco-ai/poco/services/executor/internal/process"
	"github.com/poco-ai/poco/services/internal/agents"
	"github.com/poco-ai/poco/services/internal/sanitize"
)

// Deadlines of the protocol: limits for an agent that misbehaves, far above what
// was measured (ready 5 s, canceled 0.1 s, gone 0.5 s).
const (
	setupTimeout     = 2 * time.Minute
	interruptTimeout = 5 * time.Second
	terminateTimeout = 3 * time.Second
	exitTimeout      = 5 * time.Second

	// maxMessage is the longest message that the connection takes.
	maxMessage = 8 << 20

	noticeWarning = "agent_warning"
	noticeMCP     = "mcp_server_left_out"
)

// acpAgent works on one prompt. It implements agent.Agent.
type acpAgent struct {
	driver *Driver
	path   string
	task   agent.Task
	sink   agent.Sink
	*process.Holder
	done chan struct{}

	process *process.Process
	conn    *acp.Connection
	// handled hears of each notification that was taken in.
	handled chan struct{}

	// mu guards what follows, and orders what the sink gets.
	mu         sync.Mutex
	translator translator
	questions  map[string]*question
	// ending is why the run is being ended, nil while it goes on.
	ending *agent.Outcome
	// running: the program has been started.
	running bool
	session acp.SessionId
	// prompted: the agent has the prompt. Before, what it says of a conversation
	// that it resumes is not said again.
	prompted bool
	finished bool
	// full: the sink takes nothing, so that the agent is not read.
	full       bool
	lastActive time.Time
	garbage    int
	escalation *time.Timer
}

func newAgent(d *Driver, path string, task agent.Task, sink agent.Sink) *acpAgent {
	if task.UserInputTimeout <= 0 {
		task.UserInputTimeout = agent.DefaultUserInputTimeout
	}
	return &acpAgent{
		driver: d, path: path, task: task, sink: sink, Holder: process.NewHolder(), done: make(chan struct{}), handled: make(chan struct{}, 1),
		translator: newTranslator(), questions: map[string]*question{},
	}
}

// Run implements agent.Agent.
func (a *acpAgent) Run(ctx context.Context) agent.Outcome {
	defer close(a.done)
	begun := time.Now()
	outcome := a.run(ctx)
	outcome.Usage = a.translator.usageAfter(time.Since(begun))
	return outcome
}

func (a *acpAgent) run(ctx context.Context) agent.Outcome {
	env, ignored := a.task.Variables(a.driver.own...)
	args, needed := a.driver.command(&a.task)
	a.mu.Lock()
	if a.ending != nil {
		a.mu.Unlock()
		return *a.ending
	}
	p, err := process.Start(a.path, args, a.task.Dir, append(env, needed...))
	if err != nil {
		a.mu.Unlock()
		return agent.NotStarted(agents.Title(a.driver.name), err)
	}
	a.process, a.running, a.lastActive = p, true, time.Now()
	a.mu.Unlock()
	a.Started(p)
	if len(ignored) > 0 {
		a.emit(agent.VariablesIgnored(ignored))
	}

	var parts sync.WaitGroup
	reader, writer := io.Pipe()
	a.conn = acp.NewConnection(a.handle, p, reader)
	a.conn.SetLogger(slog.New(slog.DiscardHandler))
	parts.Go(func() { a.feed(p.Lines, writer) })
	parts.Go(func() { // Nobody reads any more.
		<-a.conn.Done()
		_ = reader.Close() // Always nil.
	})
	parts.Go(func() { a.watch(ctx) })

	outcome, err := a.converse(ctx)
	if err == nil && outcome.Status == backendv1.RunStatus_RUN_STATUS_COMPLETED {
		a.awaitLeftBehind(ctx)
	}
	a.mu.Lock()
	a.finished = true
	a.mu.Unlock()
	if err == nil {
		p.CloseInput()
		a.escalate(exitTimeout, p.Close)
		select {
		case <-p.Exited:
		case <-ctx.Done():
		}
	} else if !errors.Is(err, errGone) {
		// It is there and did not do what it should.
		p.Terminate()
	}
	if ctx.Err() == nil && errors.Is(err, errGone) {
		a.escalate(exitTimeout, p.Close)
		<-p.Exited
	}
	p.Close()
	a.stopEscalation()
	parts.Wait()
	if a.garbage > 1 {
		a.emit(agent.Warning(agent.NoticeGarbage, fmt.Sprintf("%d unreadable lines of %s were ignored in all.", a.garbage, agents.Title(a.driver.name))))
	}
	return a.verdict(ctx, outcome, err)
}

// errGone says that the program has ended, or does not speak any more.
var errGone = errors.New("the agent is gone")

func (a *acpAgent) verdict(ctx context.Context, outcome agent.Outcome, err error) agent.Outcome {
	a.mu.Lock()
	defer a.mu.Unlock()
	var stopped *agent.StopError
	switch {
	case a.ending != nil:
		return *a.ending
	case err == nil:
		return outcome
	case errors.As(context.Cause(ctx), &stopped):
		return stopped.Outcome
	case ctx.Err() != nil:
		return agent.Canceled("the executor is shutting down")
	case errors.Is(err, errGone):
		return agent.Failed(backendv1.RunReason_RUN_REASON_AGENT_CRASHED, "%s ended without a result, %s", agents.Title(a.driver.name), a.process.Exit)
	default:
		return outcome
	}
}

// End implements agent.Agent.
func (a *acpAgent) End(outcome agent.Outcome) { a.end(outcome, true) }

// end begins to stop the agent. A polite end lets it report its usage.
func (a *acpAgent) end(outcome agent.Outcome, polite bool) {
	a.mu.Lock()
	if a.ending != nil || a.finished {
		a.mu.Unlock()
		return
	}
	a.ending = &outcome
	questions := a.questions
	a.questions = map[string]*question{}
	running, prompted, session := a.running, a.prompted, a.session
	a.mu.Unlock()
	for _, q := range questions {
		q.settle(nil)
	}
	if !running {
		return
	}
	terminate := func() {
		a.process.Terminate()
		a.escalate(terminateTimeout, a.process.Close)
	}
	if !polite || !prompted {
		terminate()
		return
	}
	if err := a.conn.SendNotification(context.Background(), acp.AgentMethodSessionCancel, acp.CancelNotification{SessionId: session}); err != nil {
		terminate()
		return
	}
	a.escalate(interruptTimeout, terminate)
}

// escalate plans the next step for an agent that does not do what it should.
func (a *acpAgent) escalate(d time.Duration, step func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.escalation != nil {
		a.escalation.Stop()
	}
	a.escalation = time.AfterFunc(d, step)
}

func (a *acpAgent) stopEscalation() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.escalation != nil {
		a.escalation.Stop()
	}
}

// feed passes what the agent says on to the connection, one message after the
// other is taken in, and what is no message to nobody.
func (a *acpAgent) feed(lines <-chan process.Line, w *io.PipeWriter) {
	defer func() { _ = w.Close() }() // Always nil.
	for l := range lines {
		a.awaitRoom()
		var message struct {
			ID     json.RawMessage `json:"id"`
			Method string          `json:"method"`
		}
		if l.Garbage || len(l.Data) > maxMessage || json.Unmarshal(l.Data, &message) != nil {
			a.readGarbage()
			continue
		}
		if _, err := w.Write(append(sanitize.JSON(l.Data), '\n')); err != nil {
			continue // The connection is closed; what is left is read and dropped.
		}
		if message.ID != nil || message.Method == "" || message.Method == "$/cancel_request" {
			continue
		}
		select {
		case <-a.handled:
		case <-a.conn.Done():
		}
	}
}

// awaitRoom waits until the sink takes more.
func (a *acpAgent) awaitRoom() {
	for room := a.sink.Room(); room != nil; room = a.sink.Room() {
		a.setFull(true)
		select {
		case <-room:
		case <-a.conn.Done():
			return
		}
	}
	a.setFull(false)
}

func (a *acpAgent) setFull(full bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.full, a.lastActive = full, time.Now() // It was not the agent that was silent.
}

// readGarbage tells the user once; the count goes into the last notice.
func (a *acpAgent) readGarbage() {
	a.garbage++
	if a.garbage == 1 {
		a.emit(agent.Warning(agent.NoticeGarbage, agents.Title(a.driver.name)+" printed something that is not a message; it is ignored."))
	}
}

func (a *acpAgent) emit(payload *executorv1.RunEventPayload) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sink.Emit(payload)
}

// watch ends an agent that is silent for too long.
func (a *acpAgent) watch(ctx context.Context) {
	timer := time.NewTimer(a.task.IdleTimeout)
	defer timer.Stop()
	if a.task.IdleTimeout <= 0 {
		timer.Stop()
	}
	for {
		select {
		case <-a.Released():
			a.touch()
		case <-timer.C:
			left := a.patience()
			if left <= 0 {
				a.end(agent.Failed(backendv1.RunReason_RUN_REASON_IDLE_TIMEOUT,
					"%s was silent for %s with nothing under way, the limit that RUN_IDLE_TIMEOUT_SECONDS sets.", agents.Title(a.driver.name), a.task.IdleTimeout), false)
				return
			}
			timer.Reset(left)
		case <-a.conn.Done():
			return
		case <-ctx.Done():
			return
		}
	}
}

func (a *acpAgent) touch() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lastActive = time.Now()
}

// patience is how long the agent may go on to be silent.
func (a *acpAgent) patience() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.prompted || a.finished || a.full || a.Held() || len(a.questions) > 0 || a.translator.busy() {
		return a.task.IdleTimeout
	}
	return a.task.IdleTimeout - time.Since(a.lastActive)
}

// handle takes what the agent says and asks.
func (a *acpAgent) handle(ctx context.Context, method string, params json.RawMessage) (any, *acp.RequestError) {
	a.touch()
	switch method {
	case acp.ClientMethodSessionUpdate:
		defer func() { a.handled <- struct{}{} }()
		return nil, a.update(params)
	case acp.ClientMethodSessionRequestPermission:
		return a.permit(params)
	case acp.ClientMethodElicitationCreate:
		return a.ask(ctx, params)
	default:
		select {
		case a.handled <- struct{}{}: // It may be a notification.
		default:
		}
		return nil, acp.NewMethodNotFound(method)
	}
}

func (a *acpAgent) update(params json.RawMessage) *acp.RequestError {
	u, err := readUpdate(params)
	if err != nil {
		return acp.NewInvalidParams(nil)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.prompted {
		return nil
	}
	a.pass(a.translator.update(u))
	return nil
}

// pass gives the sink what an update means.
func (a *acpAgent) pass(t translation) {
	for _, payload := range t.payloads {
		a.sink.Emit(payload)
	}
	if t.partial != nil {
		a.sink.Partial(t.partial)
	}
	if t.filesMayHaveChanged {
		a.sink.FilesMayHaveChanged()
	}
}

// permit allows whatever the agent asks for: the sandbox is the boundary, not the
// prompt. It chooses what holds once, so that a call is not a precedent.
func (a *acpAgent) permit(params json.RawMessage) (any, *acp.RequestError) {
	var request struct {
		Options  []acp.PermissionOption `json:"options"`
		ToolCall json.RawMessage        `json:"toolCall"`
	}
	if err := json.Unmarshal(params, &request); err != nil {
		return nil, acp.NewInvalidParams(nil)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if call, err := readToolCall(request.ToolCall); err == nil {
		a.pass(a.translator.begins(call))
	}
	if a.ending == nil {
		for _, kind := range []acp.PermissionOptionKind{acp.PermissionOptionKindAllowOnce, acp.PermissionOptionKindAllowAlways} {
			for _, option := range request.Options {
				if option.Kind == kind {
					return acp.RequestPermissionResponse{Outcome: acp.NewRequestPermissionOutcomeSelected(option.OptionId)}, nil
				}
			}
		}
	}
	return acp.RequestPermissionResponse{Outcome: acp.NewRequestPermissionOutcomeCancelled()}, nil
}
