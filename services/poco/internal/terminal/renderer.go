package terminal

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/agents"
)

// Limits of what one entry shows; the whole is in the session.
const (
	maxOutputLines = 12
	maxDiffLines   = 60
	defaultWidth   = 100
)

// Options says what the output can show.
type Options struct {
	// Color allows escape sequences for colour.
	Color bool
	// Live shows text while it is written. Without it only whole messages are
	// printed, as plain lines.
	Live bool
	// Width is the number of columns; 0 means unknown.
	Width int
	// ShowPrompts prints what users asked too.
	ShowPrompts bool
	// Asks means that questions are asked at this terminal. Without it the
	// renderer prints them with the way to answer.
	Asks bool
}

// Renderer prints the events of a session. It is used by one goroutine.
type Renderer struct {
	out   *writer
	style Style
	opts  Options
	runs  map[string]*runView
	tools map[string]string                    // tool use id → name
	asked map[string][]*backendv1.UserQuestion // by the id of their request
}

// runView is what the renderer remembers of one run.
type runView struct {
	lastMessage int64 // run_seq of the last assistant message
	live        []*livePiece
	todos       map[string]backendv1.TodoStatus
	files       *backendv1.FilesChanged
	usage       *backendv1.Usage
	done        bool
	cwd         string // the agent's working directory, left out of paths
}

// Out is the renderer's output, for questions asked in between: what is shown
// meanwhile then begins on a line of its own.
func (r *Renderer) Out() io.Writer { return r.out }

// NewRenderer returns a renderer that writes to out.
func NewRenderer(out io.Writer, opts Options) *Renderer {
	if opts.Width <= 0 {
		opts.Width = defaultWidth
	}
	return &Renderer{
		out: &writer{w: out, column: 0}, style: Style(opts.Color), opts: opts,
		runs: map[string]*runView{}, tools: map[string]string{}, asked: map[string][]*backendv1.UserQuestion{},
	}
}

// Event prints one stored event. The error is the output's: it is gone.
func (r *Renderer) Event(event *backendv1.SessionEvent) error {
	run := r.run(event.GetRunId())
	payload := event.GetPayload()
	switch kind := payload.GetKind().(type) {
	case *backendv1.EventPayload_AgentStarted:
		run.cwd = kind.AgentStarted.GetCwd()
		r.agentStarted(kind.AgentStarted)
	case *backendv1.EventPayload_MessageAdded:
		r.message(run, event.GetRunSeq(), kind.MessageAdded)
	case *backendv1.EventPayload_TodosChanged:
		r.todos(run, kind.TodosChanged)
	case *backendv1.EventPayload_FilesChanged:
		run.files = kind.FilesChanged // each carries all: shown once, at the end
	case *backendv1.EventPayload_ApiRetried:
		r.retried(kind.ApiRetried)
	case *backendv1.EventPayload_UserInputRequested:
		r.asked[kind.UserInputRequested.GetUserInputRequestId()] = kind.UserInputRequested.GetQuestions()
		if !r.opts.Asks {
			r.question(kind.UserInputRequested)
		}
	case *backendv1.EventPayload_UserInputResolved:
		r.resolved(kind.UserInputResolved)
	case *backendv1.EventPayload_UsageReported:
		run.usage = kind.UsageReported.GetUsage()
	case *backendv1.EventPayload_Notice:
		r.notice(kind.Notice)
	case *backendv1.EventPayload_McpServersChanged:
		r.mcpServers(kind.McpServersChanged)
	case *backendv1.EventPayload_RunFinished:
		if usage := kind.RunFinished.GetUsage(); usage != nil {
			run.usage = usage
		}
	case *backendv1.EventPayload_RunStatusChanged:
		r.status(run, kind.RunStatusChanged)
	case *backendv1.EventPayload_ExportChanged:
		r.export(kind.ExportChanged)
	}
	return r.out.err
}

// Note prints a line of the command's own.
func (r *Renderer) Note(format string, args ...any) error {
	r.entry(r.style.text(dim, Clean(fmt.Sprintf(format, args...))))
	return r.out.err
}

// Warn prints a line of the command's own that should be seen.
func (r *Renderer) Warn(format string, args ...any) error {
	r.entry(r.style.text(yellow, Clean(fmt.Sprintf(format, args...))))
	return r.out.err
}

func (r *Renderer) run(id string) *runView {
	run := r.runs[id]
	if run == nil {
		run = &runView{todos: map[string]backendv1.TodoStatus{}}
		r.runs[id] = run
	}
	return run
}

// entry prints text on lines of its own.
func (r *Renderer) entry(text string) {
	r.out.freshLine()
	r.out.write(text)
	r.out.write("\n")
}

func (r *Renderer) agentStarted(started *backendv1.AgentStarted) {
	what := "agent started"
	if started.GetResumed() {
		what = "conversation resumed"
	}
	line := fmt.Sprintf("%s: %s, %s %s", what, started.GetModel(), agents.Title(cmp.Or(started.GetAgent(), agents.Claude)), started.GetAgentVersion())
	r.entry(r.style.text(dim, Line(line, r.opts.Width)))
}

func (r *Renderer) message(run *runView, runSeq int64, message *backendv1.MessageAdded) {
	nested := message.GetParentToolUseId() != ""
	indent := ""
	if nested {
		indent = "  ┆ "
	}
	fromAgent := message.GetRole() == backendv1.MessageRole_MESSAGE_ROLE_ASSISTANT
	if fromAgent && !nested {
		run.lastMessage = runSeq
	}
	for _, block := range message.GetBlocks() {
		switch kind := block.GetKind().(type) {
		case *backendv1.ContentBlock_Text:
			switch {
			case fromAgent && nested:
				r.entry(indented(indent, strings.TrimRight(Clean(kind.Text.GetText()), "\n")))
			case fromAgent:
				r.wholeText(run, textPiece, kind.Text.GetText())
			case message.GetRole() == backendv1.MessageRole_MESSAGE_ROLE_USER && !nested && r.opts.ShowPrompts:
				r.entry("\n" + r.style.text(bold, "› "+strings.ReplaceAll(Clean(kind.Text.GetText()), "\n", "\n  ")))
			}
		case *backendv1.ContentBlock_Thinking:
			if fromAgent && !nested {
				r.wholeText(run, thinkingPiece, kind.Thinking.GetThinking())
			}
		case *backendv1.ContentBlock_ToolUse:
			r.toolUse(run, indent, kind.ToolUse)
		case *backendv1.ContentBlock_ToolResult:
			r.toolResult(run, indent, kind.ToolResult)
		case *backendv1.ContentBlock_Other:
			r.entry(r.style.text(dim, "["+Line(kind.Other.GetType(), r.opts.Width)+"]"))
		}
	}
	if fromAgent && !nested {
		run.live = nil
	}
}

func (r *Renderer) retried(retry *backendv1.ApiRetried) {
	why := retry.GetError()
	if retry.GetErrorStatus() != 0 {
		why = fmt.Sprintf("HTTP %d %s", retry.GetErrorStatus(), why)
	}
	line := fmt.Sprintf("model call failed (%s); retry %d of %d in %s", strings.TrimSpace(why),
		retry.GetAttempt(), retry.GetMaxRetries(), duration(retry.GetRetryDelay().AsDuration()))
	r.entry(r.style.text(yellow, "↻ "+Line(line, 2*r.opts.Width)))
}

func (r *Renderer) notice(notice *backendv1.Notice) {
	look := dim
	if notice.GetLevel() == backendv1.Notice_LEVEL_WARNING {
		look = yellow
	}
	text := notice.GetText()
	if text == "" {
		text = notice.GetCode()
	}
	r.entry(r.style.text(look, "! "+Line(text, 4*r.opts.Width)))
}

func (r *Renderer) mcpServers(changed *backendv1.McpServersChanged) {
	for _, server := range changed.GetServers() {
		if server.GetStatus() == backendv1.McpServerStatus_MCP_SERVER_STATUS_FAILED {
			line := fmt.Sprintf("MCP server %s failed: %s", server.GetName(), server.GetError())
			r.entry(r.style.text(yellow, "! "+Line(line, 2*r.opts.Width)))
		}
	}
}

func (r *Renderer) export(change *backendv1.ExportChanged) {
	switch change.GetStatus() {
	case backendv1.ExportStatus_EXPORT_STATUS_READY:
		line := fmt.Sprintf("workspace exported: %s, %s", count(int(change.GetFileCount()), "file"), size(change.GetTotalBytes()))
		r.entry(r.style.text(dim, line))
		if change.GetReason() != "" {
			r.entry(r.style.text(yellow, "! "+Line(change.GetReason(), 4*r.opts.Width)))
		}
	case backendv1.ExportStatus_EXPORT_STATUS_FAILED:
		r.entry(r.style.text(yellow, "! workspace export failed: "+Line(change.GetReason(), 2*r.opts.Width)))
	default: // pending is short
	}
}

func indented(indent, text string) string {
	if indent == "" {
		return text
	}
	return indent + strings.ReplaceAll(text, "\n", "\n"+indent)
}
