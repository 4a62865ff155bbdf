package acp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coder/acp-go-sdk"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/executor/internal/agent"
	"github.com/poco-ai/poco/services/internal/agents"
	"github.com/poco-ai/poco/services/internal/version"
)

// converse has the agent work on the prompt. The error is errGone when it did not
// answer to the end; another comes with the outcome that it means.
func (a *acpAgent) converse(ctx context.Context) (agent.Outcome, error) {
	setup, cancel := a.within(ctx, setupTimeout)
	defer cancel()
	started, err := a.open(setup)
	if err != nil {
		return a.setupFailure(setup, err)
	}
	if a.task.PromptID != "" {
		if err := keepPrompt(a.task.StateDir, a.task.PromptID, string(a.session)); err != nil {
			return agent.Failed(backendv1.RunReason_RUN_REASON_WORKSPACE_ERROR, "%v", err), err
		}
	}
	a.mu.Lock()
	if a.ending != nil {
		a.mu.Unlock()
		return agent.Outcome{}, errGone
	}
	a.prompted, a.lastActive = true, time.Now()
	a.sink.Emit(&executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_AgentStarted{AgentStarted: started}})
	a.mu.Unlock()
	answer, err := request[promptResponse](ctx, a.conn, acp.AgentMethodSessionPrompt, acp.PromptRequest{
		SessionId: a.session, Prompt: a.prompt(),
	})
	a.mu.Lock()
	a.pass(a.translator.flush())
	a.translator.account(answer)
	a.mu.Unlock()
	if err != nil {
		return a.promptFailure(err)
	}
	return a.outcomeOf(answer), nil
}

// within bounds the setup. The time for which the agent is held is nobody's.
func (a *acpAgent) within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		if a.Held() {
			timer.Reset(d)
			return
		}
		cancel(context.DeadlineExceeded)
	})
	return ctx, func() { timer.Stop(); cancel(nil) }
}

// open initializes the agent, and begins or resumes its conversation.
func (a *acpAgent) open(ctx context.Context) (*backendv1.AgentStarted, error) {
	hello, err := request[acp.InitializeResponse](ctx, a.conn, acp.AgentMethodInitialize, acp.InitializeRequest{
		ProtocolVersion: acp.ProtocolVersionNumber,
		ClientInfo:      &acp.Implementation{Name: "poco", Version: version.String()},
		ClientCapabilities: acp.ClientCapabilities{
			Elicitation: &acp.ElicitationCapabilities{Form: &acp.ElicitationFormCapabilities{}},
			Meta:        wanted,
		},
	})
	switch {
	case err != nil:
		return nil, err
	case hello.ProtocolVersion != acp.ProtocolVersionNumber:
		return nil, fmt.Errorf("it speaks version %d of the Agent Client Protocol, not %d", hello.ProtocolVersion, acp.ProtocolVersionNumber)
	}
	if a.driver.auth != "" {
		if _, err := request[acp.AuthenticateResponse](ctx, a.conn, acp.AgentMethodAuthenticate, acp.AuthenticateRequest{MethodId: a.driver.auth}); err != nil {
			return nil, err
		}
	}
	opened, err := a.openSession(ctx, &hello.AgentCapabilities, a.servers(&hello.AgentCapabilities))
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	a.session = opened.SessionId
	a.mu.Unlock()
	if err := a.setMode(ctx, opened); err != nil {
		return nil, err
	}
	started := &backendv1.AgentStarted{
		Agent: a.driver.name, AgentSessionId: string(opened.SessionId), Model: a.task.Model, Cwd: a.task.Dir, Resumed: a.task.ResumeID != "",
	}
	if hello.AgentInfo != nil {
		started.AgentVersion = hello.AgentInfo.Version
	}
	return started, nil
}

// resumeError is why a conversation is not resumed.
type resumeError struct{ cause error }

func (e resumeError) Error() string { return e.cause.Error() }
func (e resumeError) Unwrap() error { return e.cause }

func (a *acpAgent) openSession(ctx context.Context, can *acp.AgentCapabilities, servers []acp.McpServer) (acp.NewSessionResponse, error) {
	if a.task.ResumeID == "" {
		return request[acp.NewSessionResponse](ctx, a.conn, acp.AgentMethodSessionNew, acp.NewSessionRequest{Cwd: a.task.Dir, McpServers: servers})
	}
	id := acp.SessionId(a.task.ResumeID)
	var opened acp.NewSessionResponse // The others have the same, without the id.
	var err error
	switch {
	case can.SessionCapabilities.Resume != nil:
		opened, err = request[acp.NewSessionResponse](ctx, a.conn, acp.AgentMethodSessionResume, acp.ResumeSessionRequest{Cwd: a.task.Dir, McpServers: servers, SessionId: id})
	case can.LoadSession:
		opened, err = request[acp.NewSessionResponse](ctx, a.conn, acp.AgentMethodSessionLoad, acp.LoadSessionRequest{Cwd: a.task.Dir, McpServers: servers, SessionId: id})
	default:
		err = errors.New("this agent does not resume conversations")
	}
	opened.SessionId = id
	if err != nil && !errors.Is(err, errGone) {
		err = resumeError{err}
	}
	return opened, err
}

// setMode sets the mode of permissions. Without it nobody knows what the agent would
// ask, or not ask, so it does not begin.
func (a *acpAgent) setMode(ctx context.Context, opened acp.NewSessionResponse) error {
	if opened.Modes == nil {
		for _, option := range opened.ConfigOptions {
			if s := option.Select; s != nil && s.Id == "mode" {
				_, err := request[json.RawMessage](ctx, a.conn, acp.AgentMethodSessionSetConfigOption, map[string]any{
					"sessionId": opened.SessionId, "configId": s.Id, "value": a.driver.mode,
				})
				return err
			}
		}
		return fmt.Errorf("it has no modes, so that %q cannot be set", a.driver.mode)
	}
	_, err := request[json.RawMessage](ctx, a.conn, acp.AgentMethodSessionSetMode, acp.SetSessionModeRequest{
		SessionId: opened.SessionId, ModeId: acp.SessionModeId(a.driver.mode),
	})
	return err
}

// request calls the agent. The error is what it answers, or errGone.
func request[T any](ctx context.Context, conn *acp.Connection, method string, params any) (T, error) {
	result, err := acp.SendRequest[T](conn, ctx, method, params)
	if err == nil {
		return result, nil
	}
	select {
	case <-conn.Done():
		return result, errGone
	default:
	}
	if ctx.Err() != nil {
		return result, context.Cause(ctx)
	}
	return result, err
}

// setupFailure is the outcome of a setup that failed.
func (a *acpAgent) setupFailure(ctx context.Context, err error) (agent.Outcome, error) {
	var resume resumeError
	title := agents.Title(a.driver.name)
	switch {
	case errors.Is(err, errGone):
		return agent.Outcome{}, err
	case errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		return agent.Failed(backendv1.RunReason_RUN_REASON_AGENT_PROTOCOL_ERROR, "%s was not ready within %s.", title, setupTimeout), err
	case errors.As(err, &resume):
		return agent.Failed(backendv1.RunReason_RUN_REASON_RESUME_FAILED, "The earlier conversation could not be resumed: %s", said(err)), err
	case isAuthentication(err):
		return refused(err), err
	default:
		return agent.Failed(backendv1.RunReason_RUN_REASON_AGENT_PROTOCOL_ERROR, "%s refused to start: %s", title, said(err)), err
	}
}

// prompt is the run's prompt, after the instructions of its environment: the
// protocol has no place of their own for them.
func (a *acpAgent) prompt() []acp.ContentBlock {
	blocks := []acp.ContentBlock{acp.TextBlock(a.task.Prompt)}
	if text := a.task.InstructionText(); text != "" {
		blocks = slices.Insert(blocks, 0, acp.TextBlock("Instructions for all that you do here:\n"+text+"\n"))
	}
	return blocks
}

// promptFailure is the outcome of a prompt that was answered with an error.
func (a *acpAgent) promptFailure(err error) (agent.Outcome, error) {
	switch {
	case errors.Is(err, errGone):
		return agent.Outcome{}, err
	case isAuthentication(err):
		return refused(err), err
	default:
		return agent.Failed(backendv1.RunReason_RUN_REASON_AGENT_ERROR, "%s", said(err)), err
	}
}

// authRequired is the protocol's code of an error, others are those of HTTP.
const authRequired = -32000

func isAuthentication(err error) bool {
	var e *acp.RequestError
	return errors.As(err, &e) && (e.Code == authRequired || e.Code == 401 || e.Code == 403)
}

func refused(err error) agent.Outcome {
	return agent.Failed(backendv1.RunReason_RUN_REASON_AUTHENTICATION_FAILED, "The model API refused the credential: %s. Check its key and its base URL.", said(err))
}

// said is what an error says to a person.
func said(err error) string {
	var e *acp.RequestError
	if !errors.As(err, &e) {
		return err.Error()
	}
	message := strings.TrimPrefix(e.Message, "Internal error: ")
	if data, ok := e.Data.(map[string]any); ok {
		for _, key := range []string{"details", "message", "error"} {
			if detail, ok := data[key].(string); ok && detail != "" {
				return message + ": " + detail
			}
		}
	}
	return message
}

// wanted are the extensions that an agent may use: Codex then tells why a turn failed
// in a form of its own, not as if the model had said it, and what commands print.
var wanted = map[string]any{
	"jetbrains":             map[string]any{"air": map[string]any{"version": 1, "capabilities": []string{"sessionFailure"}}},
	"terminal_output_delta": true,
}

// failure is what is told in that form.
type failure struct {
	Category string `json:"category"`
	Severity string `json:"severity"`
	Title    string `json:"title"`
	Details  string `json:"details"`
}

// extensions are the parts of _meta that are read.
type extensions struct {
	JetBrains struct {
		Air struct {
			SessionFailure *failure `json:"sessionFailure"`
		} `json:"air"`
	} `json:"jetbrains"`
	Quota struct {
		Tokens *struct {
			Input  int64 `json:"input_tokens"`
			Output int64 `json:"output_tokens"`
		} `json:"token_count"`
	} `json:"quota"`
	TerminalOutput struct {
		Data string `json:"data"`
	} `json:"terminal_output_delta"`
	TerminalExit *struct {
		Code *int `json:"exit_code"`
	} `json:"terminal_exit"`
}

type promptResponse struct {
	StopReason acp.StopReason `json:"stopReason"`
	Usage      *acp.Usage     `json:"usage"`
	Meta       extensions     `json:"_meta"`
}

// outcomeOf judges the end of the turn.
func (a *acpAgent) outcomeOf(answer promptResponse) agent.Outcome {
	if f := answer.Meta.JetBrains.Air.SessionFailure; f != nil && f.Severity == "error" {
		if f.Category == "access" {
			return agent.Failed(backendv1.RunReason_RUN_REASON_AUTHENTICATION_FAILED, "%s", f.Title)
		}
		return agent.Failed(backendv1.RunReason_RUN_REASON_AGENT_ERROR, "%s", f.Title)
	}
	switch answer.StopReason {
	case acp.StopReasonEndTurn:
		return agent.Completed()
	case acp.StopReasonCancelled:
		return agent.Canceled("")
	case acp.StopReasonMaxTurnRequests:
		return agent.Failed(backendv1.RunReason_RUN_REASON_MAX_TURNS, "The agent took as many turns as it allows itself.")
	case acp.StopReasonMaxTokens:
		return agent.Failed(backendv1.RunReason_RUN_REASON_AGENT_ERROR, "The model's answer was cut at its limit of tokens.")
	case acp.StopReasonRefusal:
		return agent.Failed(backendv1.RunReason_RUN_REASON_AGENT_ERROR, "The model refused to go on.")
	default:
		return agent.Failed(backendv1.RunReason_RUN_REASON_AGENT_PROTOCOL_ERROR, "The agent ended its turn for a reason that is not known: %q.", answer.StopReason)
	}
}
