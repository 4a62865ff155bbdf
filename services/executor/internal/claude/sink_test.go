package claude

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
)

// recorder is a Sink that keeps everything and lets a test wait for events.
type recorder struct {
	mu       sync.Mutex
	payloads []*executorv1.RunEventPayload
	partial  strings.Builder
	changes  int
	// on is called with each event, in the agent's goroutine.
	on func(*executorv1.RunEventPayload)
}

func (r *recorder) Emit(p *executorv1.RunEventPayload) {
	r.mu.Lock()
	r.payloads = append(r.payloads, p)
	r.mu.Unlock()
	if r.on != nil {
		r.on(p)
	}
}

func (r *recorder) Partial(p *backendv1.PartialContent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.partial.WriteString(p.GetText())
}

func (r *recorder) FilesMayHaveChanged()  { r.changes++ }
func (r *recorder) Room() <-chan struct{} { return nil }

// log describes all events, one line each.
func (r *recorder) log() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := make([]string, 0, len(r.payloads))
	for _, p := range r.payloads {
		lines = append(lines, describe(p))
	}
	return strings.Join(lines, "\n")
}

// describe renders an event in one line, without what differs between runs.
func describe(p *executorv1.RunEventPayload) string {
	switch k := p.GetKind().(type) {
	case *executorv1.RunEventPayload_AgentStarted:
		return fmt.Sprintf("started %s resumed=%t servers=%d", k.AgentStarted.GetModel(), k.AgentStarted.GetResumed(), len(k.AgentStarted.GetMcpServers()))
	case *executorv1.RunEventPayload_MessageAdded:
		parts := []string{strings.ToLower(strings.TrimPrefix(k.MessageAdded.GetRole().String(), "MESSAGE_ROLE_"))}
		for _, b := range k.MessageAdded.GetBlocks() {
			parts = append(parts, describeBlock(b))
		}
		return strings.Join(parts, " ")
	case *executorv1.RunEventPayload_TodosChanged:
		parts := []string{"todos"}
		for _, todo := range k.TodosChanged.GetTodos() {
			parts = append(parts, todo.GetId()+":"+strings.ToLower(strings.TrimPrefix(todo.GetStatus().String(), "TODO_STATUS_")))
		}
		return strings.Join(parts, " ") + " now=" + k.TodosChanged.GetCurrentStep()
	case *executorv1.RunEventPayload_ApiRetried:
		return fmt.Sprintf("retry %d/%d %d %s", k.ApiRetried.GetAttempt(), k.ApiRetried.GetMaxRetries(), k.ApiRetried.GetErrorStatus(), k.ApiRetried.GetError())
	case *executorv1.RunEventPayload_UserInputRequested:
		var asked []string
		for _, q := range k.UserInputRequested.GetQuestions() {
			asked = append(asked, fmt.Sprintf("%s(%d)", q.GetQuestion(), len(q.GetOptions())))
		}
		return "asked " + k.UserInputRequested.GetToolName() + " " + strings.Join(asked, ", ")
	case *executorv1.RunEventPayload_Notice:
		return "notice " + k.Notice.GetCode()
	case *executorv1.RunEventPayload_McpServersChanged:
		parts := []string{"mcp"}
		for _, s := range k.McpServersChanged.GetServers() {
			parts = append(parts, s.GetName()+":"+strings.ToLower(strings.TrimPrefix(s.GetStatus().String(), "MCP_SERVER_STATUS_")))
		}
		return strings.Join(parts, " ")
	default:
		return fmt.Sprintf("%T", k)
	}
}

func describeBlock(b *backendv1.ContentBlock) string {
	switch k := b.GetKind().(type) {
	case *backendv1.ContentBlock_Text:
		return fmt.Sprintf("text(%s)", k.Text.GetText())
	case *backendv1.ContentBlock_Thinking:
		return fmt.Sprintf("thinking(%s)", k.Thinking.GetThinking())
	case *backendv1.ContentBlock_ToolUse:
		return fmt.Sprintf("use(%s)", k.ToolUse.GetName())
	case *backendv1.ContentBlock_ToolResult:
		return fmt.Sprintf("result(%.33s, error=%t)", k.ToolResult.GetContent(), k.ToolResult.GetIsError())
	default:
		return "other"
	}
}

func requireLines(t *testing.T, want, got string) {
	t.Helper()
	require.Equal(t, strings.TrimSpace(want), strings.TrimSpace(got))
}

// notice returns the text of the first notice with this code.
func (r *recorder) notice(code string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.payloads {
		if p.GetNotice().GetCode() == code {
			return p.GetNotice().GetText()
		}
	}
	return ""
}

// results are the answers of tools, one a line.
func (r *recorder) results() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var lines []string
	for _, p := range r.payloads {
		for _, b := range p.GetMessageAdded().GetBlocks() {
			if result := b.GetToolResult(); result != nil {
				lines = append(lines, result.GetContent())
			}
		}
	}
	return strings.Join(lines, "\n")
}

// said answers the first question of a request: with the option of this label,
// where it has one, else in these words.
func said(asked *backendv1.UserInputRequested, words string) []*backendv1.UserAnswer {
	question := asked.GetQuestions()[0]
	for _, option := range question.GetOptions() {
		if option.GetLabel() == words {
			return []*backendv1.UserAnswer{{QuestionId: question.GetId(), Selected: []string{words}}}
		}
	}
	return []*backendv1.UserAnswer{{QuestionId: question.GetId(), OtherText: words}}
}
