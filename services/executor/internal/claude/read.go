package claude

import (
	"cmp"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/executor/internal/agent"
	"github.com/poco-ai/poco/services/executor/internal/process"
	"github.com/poco-ai/poco/services/internal/sanitize"
)

const (
	initializeID = "poco-initialize"
	interruptID  = "poco-interrupt"
)

// read handles one line of the CLI.
func (a *Agent) read(l process.Line) {
	var m wireMessage
	data := l.Data
	if !l.Garbage {
		data = sanitize.JSON(data)
		l.Garbage = json.Unmarshal(data, &m) != nil
	}
	if l.Garbage {
		a.readGarbage()
		return
	}
	if a.finished {
		return // What comes after the end is no part of the run.
	}
	switch m.Type {
	case "control_response":
		a.controlResponse(&m)
	case "control_request":
		a.controlRequest(&m)
	case "control_cancel_request":
		a.withdraw(m.RequestID)
	case "result":
		a.readResult(&m)
	case "system":
		a.observeWork(m.Subtype, data)
		a.report(data, &m)
	default:
		a.report(data, &m)
	}
	a.rest()
}

// readGarbage tells the user once; the count goes into the outcome's notice.
func (a *Agent) readGarbage() {
	a.garbage++
	if a.garbage > 1 {
		return
	}
	a.notice(agent.NoticeGarbage, "The Claude Code CLI printed something that is not a message; it is ignored.")
}

func (a *Agent) notice(code, text string) { a.sink.Emit(agent.Warning(code, text)) }
func (a *Agent) inform(code, text string) { a.sink.Emit(agent.Information(code, text)) }

func (a *Agent) controlResponse(m *wireMessage) {
	if m.Response == nil || m.Response.RequestID != initializeID || a.submitted {
		return
	}
	if m.Response.Subtype != "success" {
		a.end(agent.Failed(backendv1.RunReason_RUN_REASON_AGENT_PROTOCOL_ERROR, "The Claude Code CLI refused to start: %s", m.Response.Error), false)
		return
	}
	if a.ending != nil {
		return
	}
	a.kill.Stop()
	a.submitted, a.lastLine = true, time.Now()
	a.send(userMessage(cmp.Or(a.opts.PromptID, uuid.NewString()), a.opts.Prompt))
}

func (a *Agent) controlRequest(m *wireMessage) {
	if m.Request == nil || m.Request.Subtype != "can_use_tool" {
		subtype := ""
		if m.Request != nil {
			subtype = m.Request.Subtype
		}
		a.send(controlError(m.RequestID, fmt.Sprintf("control request %q is not supported", subtype)))
		return
	}
	if !asksPerson(m.Request.ToolName) {
		a.send(controlAnswer(m.RequestID, a.permit(m.Request)))
		return
	}
	if a.ending != nil {
		return
	}
	q, err := newQuestion(m.RequestID, m.Request, time.Now().Add(a.opts.UserInputTimeout))
	if err != nil {
		a.send(controlAnswer(m.RequestID, deny("The question could not be read: "+err.Error())))
		return
	}
	a.questions[q.id] = q
	a.sink.Emit(q.payload())
}

// resolve gives a question's answer to the CLI.
func (a *Agent) resolve(q *question, p permission) {
	delete(a.questions, q.id)
	a.lastLine = time.Now() // The silence was a person's.
	a.send(controlAnswer(q.requestID, p))
}

// withdraw forgets a question that the CLI does not ask any more.
func (a *Agent) withdraw(requestID string) {
	for id, q := range a.questions {
		if q.requestID == requestID {
			delete(a.questions, id)
			a.lastLine = time.Now()
			a.notice(agent.NoticeWithdrawn, "The agent withdrew its question.")
		}
	}
}

func (a *Agent) report(data []byte, m *wireMessage) {
	t := a.translator.translate(data, m)
	for _, payload := range t.payloads {
		a.sink.Emit(payload)
	}
	if t.partial != nil {
		a.sink.Partial(t.partial)
	}
	if t.filesMayHaveChanged {
		a.sink.FilesMayHaveChanged()
	}
	if m.Type == "system" && m.Subtype == "init" {
		a.started = true
	}
	if m.Type == "system" && m.PermissionMode != "" {
		a.planning = m.PermissionMode == planMode
	}
	if m.Type == "system" && m.Subtype == "api_retry" {
		a.silentUntil = time.Now().Add(time.Duration(m.RetryDelayMS * float64(time.Millisecond)))
		if isAuthenticationStatus(m.ErrorStatus) {
			// It would go on for minutes, and nothing would change.
			a.end(authenticationFailed(m.ErrorStatus, jsonText(m.Error)), false)
		}
	}
	if used := a.translator.usage.sum().total(); a.opts.MaxTokens > 0 && used > a.opts.MaxTokens {
		a.end(agent.Failed(backendv1.RunReason_RUN_REASON_TOKEN_LIMIT, "The run's limit of %d tokens is reached.", a.opts.MaxTokens), true)
	}
}

// readResult takes the end of a turn. A limit that was reached or a cancel
// before it stands, whatever the CLI made of its work meanwhile.
func (a *Agent) readResult(m *wireMessage) {
	a.usage = a.translator.sumUp(a.usage, usageOf(&m.wireResult))
	if a.ending == nil && a.continueBrokenAnswer(&m.wireResult) {
		return
	}
	outcome := ofResult(m.Subtype, &m.wireResult, a.opts.ResumeID != "" && !a.started)
	a.result = &outcome
	if a.ending != nil {
		// After an interrupt the CLI may go on with a turn of its own.
		a.process.Terminate()
		a.escalateAfter(terminateTimeout, a.process.Close)
	}
}
