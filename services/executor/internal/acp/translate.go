package acp

import (
	"cmp"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/coder/acp-go-sdk"
	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/executor/internal/agent"
)

// toolCall is a tool_call or a tool_call_update: what it leaves out stays as it was.
type toolCall struct {
	ID        string             `json:"toolCallId"`
	Name      string             `json:"name"`
	Title     string             `json:"title"`
	Kind      acp.ToolKind       `json:"kind"`
	Status    acp.ToolCallStatus `json:"status"`
	Content   []toolContent      `json:"content"`
	RawInput  json.RawMessage    `json:"rawInput"`
	RawOutput json.RawMessage    `json:"rawOutput"`
	Meta      extensions         `json:"_meta"`
	raw       json.RawMessage
	// output is what its command has printed.
	output string
	// told: the call is in the record.
	told bool
}

// toolContent is a part of what a tool answers.
type toolContent struct {
	Type    string      `json:"type"`
	Content contentText `json:"content"`
	Path    string      `json:"path"`
}

// contentText is a content block of which only text is shown.
type contentText struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

// update is a session/update notification.
type update struct {
	Kind    string          `json:"sessionUpdate"`
	Message string          `json:"messageId"`
	Content json.RawMessage `json:"content"`
	Entries []acp.PlanEntry `json:"entries"`
	Cost    *acp.Cost       `json:"cost"`
	Meta    extensions      `json:"_meta"`
	raw     json.RawMessage
}

func readUpdate(params json.RawMessage) (update, error) {
	var notification struct {
		Update json.RawMessage `json:"update"`
	}
	var u update
	if err := json.Unmarshal(params, &notification); err != nil {
		return u, err
	}
	u.raw = notification.Update
	return u, json.Unmarshal(notification.Update, &u)
}

func readToolCall(raw json.RawMessage) (toolCall, error) {
	c := toolCall{raw: raw}
	return c, json.Unmarshal(raw, &c)
}

// translator turns what an agent says into events. It does no I/O.
type translator struct {
	// tools are the calls under way, by id.
	tools map[string]*toolCall
	// writing is the message that is being written.
	writing struct {
		kind, message, id string
		text              strings.Builder
	}
	usage backendv1.Usage
}

func newTranslator() translator { return translator{tools: map[string]*toolCall{}} }

// translation is what an update means.
type translation struct {
	payloads []*executorv1.RunEventPayload
	partial  *backendv1.PartialContent
	// filesMayHaveChanged: a tool that may write files has answered.
	filesMayHaveChanged bool
}

// busy says whether a tool is at work.
func (t *translator) busy() bool { return len(t.tools) > 0 }

const (
	kindText    = "agent_message_chunk"
	kindThought = "agent_thought_chunk"
)

func (t *translator) update(u update) translation {
	switch u.Kind {
	case kindText, kindThought:
		return t.chunk(u)
	case "tool_call", "tool_call_update":
		return t.tool(u)
	case "plan":
		return t.plan(u.Entries)
	case "usage_update":
		if u.Cost != nil && u.Cost.Currency == "USD" {
			t.usage.TotalCostUsd = u.Cost.Amount
		}
	case "session_info_update":
		if f := u.Meta.JetBrains.Air.SessionFailure; f != nil && f.Severity == "warning" {
			return translation{payloads: []*executorv1.RunEventPayload{agent.Warning(noticeWarning, f.Title)}}
		}
	}
	return translation{}
}

// chunk takes a piece of a message. The message is in the record once it is whole.
func (t *translator) chunk(u update) translation {
	var content contentText
	if json.Unmarshal(u.Content, &content) != nil || content.Text == "" {
		return translation{}
	}
	var out translation
	w := &t.writing
	if w.kind != u.Kind || w.message != u.Message {
		out = t.flush()
		w.kind, w.message, w.id = u.Kind, u.Message, uuid.NewString()
	}
	w.text.WriteString(content.Text)
	out.partial = &backendv1.PartialContent{AgentMessageId: w.id}
	if u.Kind == kindThought {
		out.partial.Delta = &backendv1.PartialContent_Thinking{Thinking: content.Text}
	} else {
		out.partial.Delta = &backendv1.PartialContent_Text{Text: content.Text}
	}
	return out
}

// flush ends the message that is being written.
func (t *translator) flush() translation {
	w := &t.writing
	text, kind, id := w.text.String(), w.kind, w.id
	w.text.Reset()
	w.kind = ""
	if strings.TrimSpace(text) == "" {
		return translation{}
	}
	block := &backendv1.ContentBlock{Kind: &backendv1.ContentBlock_Text{Text: &backendv1.TextBlock{Text: text}}}
	if kind == kindThought {
		block = &backendv1.ContentBlock{Kind: &backendv1.ContentBlock_Thinking{Thinking: &backendv1.ThinkingBlock{Thinking: text}}}
	}
	verbatim, err := json.Marshal(map[string]any{"sessionUpdate": kind, "content": contentText{Type: "text", Text: text}})
	if err != nil {
		verbatim = []byte("{}")
	}
	return translation{payloads: []*executorv1.RunEventPayload{added(id, backendv1.MessageRole_MESSAGE_ROLE_ASSISTANT, verbatim, block)}}
}

func added(id string, role backendv1.MessageRole, verbatim []byte, block *backendv1.ContentBlock) *executorv1.RunEventPayload {
	return &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_MessageAdded{MessageAdded: &backendv1.MessageAdded{
		MessageId: id, Role: role, Blocks: []*backendv1.ContentBlock{block}, VerbatimJson: string(verbatim),
	}}}
}

func (t *translator) tool(u update) translation {
	change, err := readToolCall(u.raw)
	if err != nil || change.ID == "" {
		return translation{}
	}
	if change.Status == "" && u.Kind == "tool_call" {
		change.Status = acp.ToolCallStatusPending
	}
	// What a pending call is about is often not known yet.
	if change.Status == acp.ToolCallStatusPending || change.Status == "" && t.tools[change.ID] == nil {
		t.merge(change)
		return translation{}
	}
	out := t.begins(change)
	call := t.tools[change.ID]
	if call.Status != acp.ToolCallStatusCompleted && call.Status != acp.ToolCallStatusFailed {
		return out
	}
	delete(t.tools, change.ID)
	out.payloads = append(out.payloads, added(uuid.NewString(), backendv1.MessageRole_MESSAGE_ROLE_USER, change.raw, &backendv1.ContentBlock{
		Kind: &backendv1.ContentBlock_ToolResult{ToolResult: &backendv1.ToolResultBlock{
			ToolUseId: call.ID, Content: call.result(), IsError: call.Status == acp.ToolCallStatusFailed,
		}},
	}))
	out.filesMayHaveChanged = !slices.Contains(readOnlyKinds, call.Kind)
	return out
}

// readOnlyKinds are those of tools that never change a file.
var readOnlyKinds = []acp.ToolKind{acp.ToolKindRead, acp.ToolKindSearch, acp.ToolKindFetch, acp.ToolKindThink}

// begins takes a call that is about to be made, if it was not told before.
func (t *translator) begins(change toolCall) translation {
	call := t.merge(change)
	if call.told {
		return translation{}
	}
	call.told = true
	out := t.flush()
	out.payloads = append(out.payloads, added(uuid.NewString(), backendv1.MessageRole_MESSAGE_ROLE_ASSISTANT, change.raw, &backendv1.ContentBlock{
		Kind: &backendv1.ContentBlock_ToolUse{ToolUse: &backendv1.ToolUseBlock{Id: call.ID, Name: call.Name, Input: call.input()}},
	}))
	return out
}

// toolName is how tools are named, other than their titles.
var toolName = regexp.MustCompile(`^[a-z][a-zA-Z0-9]*(_[a-zA-Z0-9]+)*$`)

// merge adds what is said of a call to what is known of it.
func (t *translator) merge(change toolCall) *toolCall {
	call := t.tools[change.ID]
	if call == nil {
		call = &toolCall{ID: change.ID}
		t.tools[change.ID] = call
	}
	call.Name = cmp.Or(call.Name, change.Name)
	if call.Name == "" && toolName.MatchString(change.Title) {
		call.Name = change.Title
	}
	call.Title = cmp.Or(change.Title, call.Title)
	call.Kind = cmp.Or(change.Kind, call.Kind)
	call.Status = cmp.Or(change.Status, call.Status)
	if len(change.Content) > 0 {
		call.Content = change.Content
	}
	if len(change.RawInput) > 0 {
		call.RawInput = change.RawInput
	}
	if len(change.RawOutput) > 0 {
		call.RawOutput = change.RawOutput
	}
	call.output += change.Meta.TerminalOutput.Data
	if call.Status != acp.ToolCallStatusPending {
		call.Name = cmp.Or(call.Name, string(call.Kind), string(acp.ToolKindOther))
	}
	return call
}

// input is what the tool is called with; its title, when the agent does not say.
func (c *toolCall) input() *structpb.Struct {
	input := &structpb.Struct{}
	if len(c.RawInput) > 0 && input.UnmarshalJSON(c.RawInput) == nil && len(input.GetFields()) > 0 {
		return input
	}
	return &structpb.Struct{Fields: map[string]*structpb.Value{"title": structpb.NewStringValue(c.Title)}}
}

// result is what the tool answers, as text.
func (c *toolCall) result() string {
	var parts []string
	for _, part := range c.Content {
		switch {
		case part.Type == "diff":
			parts = append(parts, "Changed "+part.Path)
		case part.Content.Text != "":
			parts = append(parts, part.Content.Text)
		}
	}
	if c.output != "" {
		parts = append(parts, c.output)
	}
	if len(parts) > 0 {
		return strings.Join(parts, "\n")
	}
	var text string
	if json.Unmarshal(c.RawOutput, &text) == nil {
		return text
	}
	var output struct {
		Output string `json:"output"`
	}
	if json.Unmarshal(c.RawOutput, &output) == nil && output.Output != "" {
		return output.Output
	}
	return string(c.RawOutput)
}

// plan is the agent's to-do list, whole.
func (t *translator) plan(entries []acp.PlanEntry) translation {
	changed := &backendv1.TodosChanged{}
	for _, entry := range entries {
		status := backendv1.TodoStatus_TODO_STATUS_PENDING
		switch entry.Status {
		case acp.PlanEntryStatusInProgress:
			status = backendv1.TodoStatus_TODO_STATUS_IN_PROGRESS
			changed.CurrentStep = cmp.Or(changed.GetCurrentStep(), entry.Content)
		case acp.PlanEntryStatusCompleted:
			status = backendv1.TodoStatus_TODO_STATUS_COMPLETED
		case acp.PlanEntryStatusPending:
		}
		changed.Todos = append(changed.Todos, &backendv1.Todo{Content: entry.Content, Status: status})
	}
	return translation{payloads: []*executorv1.RunEventPayload{{Kind: &executorv1.RunEventPayload_TodosChanged{TodosChanged: changed}}}}
}

// account takes what the turn has consumed.
func (t *translator) account(answer promptResponse) {
	switch {
	case answer.Usage != nil:
		t.usage.InputTokens, t.usage.OutputTokens = int64(answer.Usage.InputTokens), int64(answer.Usage.OutputTokens)
		if n := answer.Usage.CachedReadTokens; n != nil {
			t.usage.CacheReadInputTokens = int64(*n)
		}
		if n := answer.Usage.CachedWriteTokens; n != nil {
			t.usage.CacheCreationInputTokens = int64(*n)
		}
	case answer.Meta.Quota.Tokens != nil:
		t.usage.InputTokens, t.usage.OutputTokens = answer.Meta.Quota.Tokens.Input, answer.Meta.Quota.Tokens.Output
	}
}

// usageAfter is what the run consumed.
func (t *translator) usageAfter(d time.Duration) *backendv1.Usage {
	t.usage.Duration = durationpb.New(d)
	return &t.usage
}
