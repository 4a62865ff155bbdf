package scriptedmodel

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Scenarios call tools by the names that Claude Code gives them. Another agent has
// tools of its own for the same: each scenario is played with those.

// offered is a tool of the client, by which scenarios are translated.
type offered struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace,omitempty"`
}

// call is a tool call in the client's own terms.
type call struct {
	name, namespace string
	input           json.RawMessage
}

// equivalents are other agents' tools for one of Claude Code's: the name, and its
// input by the names of that.
var equivalents = map[string][]struct {
	name  string
	input func(in map[string]any) map[string]any
}{
	"Bash": {
		{"bash", keep("command", "command", "description", "description")},
		{"exec_command", keep("command", "cmd")},
	},
	"Write": {
		{"write", keep("file_path", "filePath", "content", "content")},
		{"bash", write("command")},
		{"exec_command", write("cmd")},
	},
	"Edit": {
		{"edit", keep("file_path", "filePath", "old_string", "oldString", "new_string", "newString")},
		{"bash", edit("command")},
		{"exec_command", edit("cmd")},
	},
	"AskUserQuestion": {
		{"request_user_input", func(in map[string]any) map[string]any {
			questions, _ := in["questions"].([]any)
			for i, q := range questions {
				if q, ok := q.(map[string]any); ok {
					q["id"] = fmt.Sprintf("question_%d", i)
				}
			}
			return map[string]any{"questions": questions}
		}},
	},
}

// write and edit do it by a command, under the name that the tool has for that.
func write(command string) func(in map[string]any) map[string]any {
	return func(in map[string]any) map[string]any {
		return map[string]any{"description": "write", command: fmt.Sprintf("cat > '%s' <<'EOF'\n%sEOF", in["file_path"], in["content"])}
	}
}

func edit(command string) func(in map[string]any) map[string]any {
	return func(in map[string]any) map[string]any {
		return map[string]any{"description": "edit", command: fmt.Sprintf("sed -i 's/%s/%s/' '%s'", in["old_string"], in["new_string"], in["file_path"])}
	}
}

// keep renames keys: pairs of the old name and the new one.
func keep(pairs ...string) func(in map[string]any) map[string]any {
	return func(in map[string]any) map[string]any {
		out := map[string]any{}
		for i := 0; i < len(pairs); i += 2 {
			if value, ok := in[pairs[i]]; ok {
				out[pairs[i+1]] = value
			}
		}
		return out
	}
}

// call translates a tool call into one of a tool that the request offers.
func (h *Handler) call(req *messagesRequest, c *conversation, t *Tool) call {
	if t.RawInput != nil {
		return call{name: t.Name, input: t.RawInput}
	}
	input, _ := c.expandInput(t.Input).(map[string]any)
	tools := map[string]offered{}
	for _, raw := range req.Tools {
		var tool offered
		if json.Unmarshal(raw, &tool) == nil {
			tools[tool.Name] = tool
		}
	}
	for _, other := range equivalents[t.Name] {
		if tool, ok := tools[other.name]; ok {
			return call{name: tool.Name, namespace: tool.Namespace, input: mustJSON(other.input(input))}
		}
	}
	// A tool of an MCP server, mcp__SERVER__TOOL.
	if parts := strings.Split(t.Name, "__"); len(parts) == 3 {
		for _, tool := range tools {
			if strings.HasSuffix(tool.Name, parts[2]) && strings.Contains(tool.Namespace+tool.Name, parts[1]) || tool.Name == parts[2] {
				return call{name: tool.Name, namespace: tool.Namespace, input: mustJSON(input)}
			}
		}
	}
	return call{name: t.Name, input: mustJSON(input)}
}

// eachPiece sends a block of text piece by piece, and returns the whole.
func (h *Handler) eachPiece(s *eventStream, c *conversation, b Block, send func(piece json.RawMessage)) json.RawMessage {
	if b.RawText != nil {
		send(b.RawText)
		return b.RawText
	}
	pause := b.Pause
	if pause == 0 {
		pause = h.opts.Pace
	}
	whole := c.expand(b.Text)
	for i, piece := range pieces(whole) {
		if i > 0 {
			s.pause(pause)
		}
		send(mustJSON(piece))
	}
	return mustJSON(whole)
}
