package claude

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/internal/agents"
)

// translator turns the CLI's lines into events. It does no I/O.
type translator struct {
	resumed bool
	todos   todoList
	// tools are the calls under way, by id.
	tools map[string]toolCall
	// writing is the message the model is writing, by parent tool call.
	writing map[string]string
	usage   streamedUsage
}

// cliItself is the model of a message that the CLI wrote: the text of an error.
const cliItself = "<synthetic>"

type toolCall struct {
	name   string
	input  json.RawMessage
	parent string
}

func newTranslator(resumed bool) *translator {
	return &translator{
		resumed: resumed,
		tools:   map[string]toolCall{},
		writing: map[string]string{},
		usage:   streamedUsage{current: map[string]wireUsage{}},
	}
}

// translation is what a line means.
type translation struct {
	payloads []*executorv1.RunEventPayload
	partial  *backendv1.PartialContent
	// filesMayHaveChanged: a tool that may write files has answered.
	filesMayHaveChanged bool
}

func (t *translator) translate(raw []byte, m *wireMessage) translation {
	switch m.Type {
	case "system":
		return translation{payloads: t.system(m)}
	case "assistant", "user":
		return t.chat(raw, m)
	case "stream_event":
		return translation{partial: t.stream(m)}
	default:
		return translation{}
	}
}

func (t *translator) system(m *wireMessage) []*executorv1.RunEventPayload {
	switch m.Subtype {
	case "init":
		servers := mcpServers(m.McpServers)
		started := &backendv1.AgentStarted{
			AgentSessionId: m.SessionID, Model: m.Model, Agent: agents.Claude, AgentVersion: m.Version, Tools: m.Tools,
			McpServers: servers, Skills: m.Skills, Cwd: m.CWD, Resumed: t.resumed,
		}
		payloads := []*executorv1.RunEventPayload{{Kind: &executorv1.RunEventPayload_AgentStarted{AgentStarted: started}}}
		if len(servers) > 0 {
			changed := &backendv1.McpServersChanged{Servers: servers}
			payloads = append(payloads, &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_McpServersChanged{McpServersChanged: changed}})
		}
		return payloads
	case "api_retry":
		retried := &backendv1.ApiRetried{
			Attempt: m.Attempt, MaxRetries: m.MaxRetries, ErrorStatus: m.ErrorStatus, Error: jsonText(m.Error),
			RetryDelay: durationpb.New(time.Duration(m.RetryDelayMS * float64(time.Millisecond))),
		}
		return []*executorv1.RunEventPayload{{Kind: &executorv1.RunEventPayload_ApiRetried{ApiRetried: retried}}}
	default:
		return nil
	}
}

func mcpServers(servers []wireServer) []*backendv1.McpServer {
	out := make([]*backendv1.McpServer, 0, len(servers))
	for _, s := range servers {
		status := backendv1.McpServerStatus_MCP_SERVER_STATUS_PENDING
		switch s.Status {
		case "connected":
			status = backendv1.McpServerStatus_MCP_SERVER_STATUS_CONNECTED
		case "failed":
			status = backendv1.McpServerStatus_MCP_SERVER_STATUS_FAILED
		case "disabled":
			status = backendv1.McpServerStatus_MCP_SERVER_STATUS_DISABLED
		}
		out = append(out, &backendv1.McpServer{Name: s.Name, Status: status, Error: s.Error})
	}
	return out
}

func (t *translator) chat(raw []byte, m *wireMessage) translation {
	if m.Message == nil || m.IsReplay {
		return translation{}
	}
	if m.Message.StopReason != "" && m.Message.Model != cliItself {
		// An answer in one piece, which was asked for again. One that is streamed
		// has no reason yet when its blocks are told.
		delete(t.writing, m.ParentToolUseID)
	}
	added := &backendv1.MessageAdded{
		MessageId: messageID(m.UUID), Role: backendv1.MessageRole_MESSAGE_ROLE_ASSISTANT,
		VerbatimJson: string(raw), ParentToolUseId: m.ParentToolUseID,
	}
	if m.Type == "user" {
		added.Role = backendv1.MessageRole_MESSAGE_ROLE_USER
	}
	for _, b := range m.Message.Content {
		added.Blocks = append(added.Blocks, contentBlock(b))
	}
	out := translation{payloads: []*executorv1.RunEventPayload{{Kind: &executorv1.RunEventPayload_MessageAdded{MessageAdded: added}}}}
	todosChanged := false
	for _, b := range m.Message.Content {
		switch b.Type {
		case blockToolUse:
			t.tools[b.ID] = toolCall{name: b.Name, input: b.Input, parent: m.ParentToolUseID}
		case blockToolResult:
			call := t.tools[b.ToolUseID]
			delete(t.tools, b.ToolUseID)
			out.filesMayHaveChanged = out.filesMayHaveChanged || mayWrite(call.name)
			// A sub-agent's list is its own.
			if !b.IsError && m.ParentToolUseID == "" {
				todosChanged = t.todos.apply(call, m.ToolUseResult, b.Content.text()) || todosChanged
			}
		}
	}
	if todosChanged {
		out.payloads = append(out.payloads, t.todos.payload())
	}
	return out
}

// forget drops the calls that get no answer any more: the model's own, or a
// sub-agent's by the call that started it.
func (t *translator) forget(parent string) {
	maps.DeleteFunc(t.tools, func(_ string, call toolCall) bool { return call.parent == parent })
}

// calling says whether one of these tools is being called.
func (t *translator) calling(names ...string) bool {
	for _, call := range t.tools {
		if slices.Contains(names, call.name) {
			return true
		}
	}
	return false
}

// describeCall tells a person what a call does, by its command or in the
// model's words; empty for a call that is not known.
func (t *translator) describeCall(id string) string {
	var in struct {
		Command     string `json:"command"`
		Description string `json:"description"`
	}
	if json.Unmarshal(t.tools[id].input, &in) != nil {
		return ""
	}
	return cmp.Or(in.Command, in.Description)
}

func messageID(id string) string {
	if _, err := uuid.Parse(id); err == nil {
		return id
	}
	return uuid.NewString()
}

func contentBlock(b wireBlock) *backendv1.ContentBlock {
	switch b.Type {
	case blockText:
		return &backendv1.ContentBlock{Kind: &backendv1.ContentBlock_Text{Text: &backendv1.TextBlock{Text: b.Text}}}
	case blockThinking:
		return &backendv1.ContentBlock{Kind: &backendv1.ContentBlock_Thinking{Thinking: &backendv1.ThinkingBlock{Thinking: b.Thinking}}}
	case blockToolUse:
		input := &structpb.Struct{}
		if len(b.Input) == 0 || input.UnmarshalJSON(b.Input) == nil {
			return &backendv1.ContentBlock{Kind: &backendv1.ContentBlock_ToolUse{
				ToolUse: &backendv1.ToolUseBlock{Id: b.ID, Name: b.Name, Input: input},
			}}
		}
	case blockToolResult:
		return &backendv1.ContentBlock{Kind: &backendv1.ContentBlock_ToolResult{
			ToolResult: &backendv1.ToolResultBlock{ToolUseId: b.ToolUseID, Content: b.Content.text(), IsError: b.IsError},
		}}
	}
	return &backendv1.ContentBlock{Kind: &backendv1.ContentBlock_Other{
		Other: &backendv1.OtherBlock{Type: b.Type, Json: string(b.raw)},
	}}
}

// readOnlyTools never change a file of the workspace. Every other tool may.
var readOnlyTools = map[string]bool{
	"AskUserQuestion": true, "ExitPlanMode": true, "EnterPlanMode": true, "Glob": true, "Grep": true, "LS": true,
	"Read": true, "ReportFindings": true, "TaskCreate": true, "TaskGet": true, "TaskList": true, "TaskUpdate": true,
	"TodoWrite": true, "WebFetch": true, "WebSearch": true,
}

func mayWrite(tool string) bool { return !readOnlyTools[tool] }

// stream follows the model's stream: the text as it is written, and what the
// message costs in tokens.
func (t *translator) stream(m *wireMessage) *backendv1.PartialContent {
	e := m.Event
	if e == nil {
		return nil
	}
	parent := m.ParentToolUseID
	switch e.Type {
	case "message_start":
		if e.Message != nil {
			t.writing[parent] = e.Message.ID
			t.usage.start(parent, e.Message.Usage)
		}
	case "message_delta":
		if e.Usage != nil {
			t.usage.update(parent, *e.Usage)
		}
	case "message_stop":
		t.usage.finish(parent)
		delete(t.writing, parent)
	case "content_block_delta":
		if parent != "" {
			return nil // A sub-agent's text is shown once it is complete.
		}
		partial := &backendv1.PartialContent{AgentMessageId: t.writing[parent], BlockIndex: e.Index}
		switch {
		case e.Delta.Type == "text_delta" && e.Delta.Text != "":
			partial.Delta = &backendv1.PartialContent_Text{Text: e.Delta.Text}
			return partial
		case e.Delta.Type == "thinking_delta" && e.Delta.Thinking != "":
			partial.Delta = &backendv1.PartialContent_Thinking{Thinking: e.Delta.Thinking}
			return partial
		}
	}
	return nil
}

// jsonText returns a JSON string's text, or other JSON as it is.
func jsonText(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return strings.TrimSpace(string(raw))
}
