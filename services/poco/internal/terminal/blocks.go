package terminal

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/mattn/go-runewidth"
	"google.golang.org/protobuf/types/known/structpb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

// shownOtherwise are tools whose effect has an event, and an entry, of its own.
var shownOtherwise = map[string]bool{
	"AskUserQuestion": true, "TodoWrite": true,
	"TaskCreate": true, "TaskUpdate": true, "TaskList": true, "TaskGet": true,
}

// telling are the inputs that say best what a call is about, in this order.
var telling = []string{"command", "file_path", "notebook_path", "path", "pattern", "url", "query", "description", "prompt"}

func (r *Renderer) toolUse(run *runView, indent string, use *backendv1.ToolUseBlock) {
	r.tools[use.GetId()] = use.GetName()
	if shownOtherwise[use.GetName()] {
		return
	}
	name := Line(use.GetName(), r.opts.Width)
	r.entry(indent + r.style.text(cyan, "▸ "+name) + " " + Line(run.relative(inputSummary(use.GetInput())), r.opts.Width))
}

// inputSummary says in one line what a tool is asked to do.
func inputSummary(input *structpb.Struct) string {
	fields := input.GetFields()
	for _, name := range telling {
		if value := fields[name].GetStringValue(); value != "" {
			return value
		}
	}
	if len(fields) == 0 {
		return ""
	}
	line, err := json.Marshal(input.AsMap())
	if err != nil {
		return "(input cannot be shown)"
	}
	return string(line)
}

func (r *Renderer) toolResult(run *runView, indent string, result *backendv1.ToolResultBlock) {
	if shownOtherwise[r.tools[result.GetToolUseId()]] && !result.GetIsError() {
		return
	}
	look := dim
	if result.GetIsError() {
		look = red
	}
	text := strings.Trim(Clean(run.relative(result.GetContent())), "\n")
	if text == "" {
		text = "(no output)"
	}
	lines := strings.Split(text, "\n")
	hidden := len(lines) - maxOutputLines
	if hidden > 0 {
		lines = lines[:maxOutputLines]
	}
	for _, line := range lines {
		r.entry(indent + r.style.text(look, "  │ "+cut(line, 2*r.opts.Width)))
	}
	switch {
	case result.GetTruncated():
		r.entry(indent + r.style.text(dim, fmt.Sprintf("  │ … cut, %s in all", size(result.GetFullSize()))))
	case hidden > 0:
		r.entry(indent + r.style.text(dim, fmt.Sprintf("  │ … %s", count(hidden, "more line"))))
	}
}

// todos prints the list when it is new and then what changed in it.
func (r *Renderer) todos(run *runView, changed *backendv1.TodosChanged) {
	known := run.todos
	run.todos = make(map[string]backendv1.TodoStatus, len(changed.GetTodos()))
	for i, todo := range changed.GetTodos() {
		key := todo.GetId()
		if key == "" {
			key = fmt.Sprint(i)
		}
		run.todos[key] = todo.GetStatus()
		if status, ok := known[key]; ok && status == todo.GetStatus() {
			continue
		}
		r.todo(todo)
	}
}

func (r *Renderer) todo(todo *backendv1.Todo) {
	content := Line(todo.GetContent(), r.opts.Width)
	switch todo.GetStatus() {
	case backendv1.TodoStatus_TODO_STATUS_COMPLETED:
		r.entry("  " + r.style.text(green, "☑") + " " + r.style.text(dim, content))
	case backendv1.TodoStatus_TODO_STATUS_IN_PROGRESS:
		if todo.GetActiveForm() != "" {
			content = Line(todo.GetActiveForm(), r.opts.Width)
		}
		r.entry("  " + r.style.text(cyan, "◐") + " " + r.style.text(bold, content))
	default:
		r.entry("  ☐ " + content)
	}
}

// cut shortens a line that stays a line to a width in cells, of which Chinese
// takes two a character: unlike Line it keeps its spaces.
func cut(line string, width int) string { return cells.Truncate(line, width, "…") }

// cells counts how many of a terminal's cells a text takes. What a font may show
// in one or in two, such as the frames of boxes, takes one, whatever the locale.
var cells = &runewidth.Condition{StrictEmojiNeutral: true}

// relative leaves the agent's working directory out of paths.
func (v *runView) relative(text string) string {
	if v.cwd == "" || v.cwd == "/" {
		return text
	}
	return strings.ReplaceAll(text, v.cwd+"/", "")
}
