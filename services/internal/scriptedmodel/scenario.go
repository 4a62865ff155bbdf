package scriptedmodel

import (
	"encoding/json"
	"time"
)

// Scenario is a written conversation: what the model answers, turn by turn,
// to one prompt.
type Scenario struct {
	// Name is the marker that chooses the scenario: [[name]] or [[name:argument]].
	Name string
	// Turns are the answers in their order. A request past the last one gets
	// a short closing text, so that no conversation hangs.
	Turns []Turn
}

// Turn is one answer of the model.
type Turn struct {
	Blocks []Block
	// Usage of the turn; zero means DefaultUsage.
	Usage Usage
	// Error is answered instead of the turn.
	Error *Error
	// Wait holds the answer back, before its blocks, until the signal of this
	// name is given with Handler.Release. Placeholders are filled in.
	Wait string
	// Break ends the answer after its blocks, before it is complete.
	Break *Break
	// Hang never answers; only the client's going away ends the request.
	Hang bool
}

// Block is one content block. Exactly one of Text, Thinking, RawText and Tool
// is set.
type Block struct {
	// Text is streamed in pieces. Placeholders are filled in.
	Text string
	// RawText is a JSON string literal sent as it is, for text that Go cannot
	// hold, such as half a surrogate pair.
	RawText json.RawMessage
	// Thinking is a thinking block.
	Thinking string
	// Tool is a tool call.
	Tool *Tool
	// Pause between the pieces of the text; zero means the handler's own pace.
	Pause time.Duration
}

// Tool is a call of one of the client's tools.
type Tool struct {
	Name string
	// Input is the tool's input; placeholders in strings are filled in.
	Input map[string]any
	// RawInput is sent instead of Input, as it is.
	RawInput json.RawMessage
}

// Error is a failed call.
type Error struct {
	Status  int
	Type    string
	Message string
	// Times is how many calls fail before the turn is answered; 0 means all.
	Times int
}

// Break is an answer that does not come to its end.
type Break struct {
	// Error is sent as an event of the stream. Without one the connection is cut,
	// or with Ends the stream just ends.
	Error *Error
	Ends  bool
	// Times is how many calls break before the turn is answered; 0 means all.
	Times int
}

// Usage is what a turn claims to have consumed.
type Usage struct {
	InputTokens          int `json:"input_tokens"`
	OutputTokens         int `json:"output_tokens"`
	CacheReadInputTokens int `json:"cache_read_input_tokens"`
	CacheCreationTokens  int `json:"cache_creation_input_tokens"`
}

func (t Turn) usage() Usage {
	if t.Usage == (Usage{}) {
		return DefaultUsage
	}
	return t.Usage
}

// DefaultUsage is the usage of a turn that names none: with the price list of
// claude-sonnet-4 each turn costs 0.0006 US dollars.
var DefaultUsage = Usage{InputTokens: 100, OutputTokens: 20}

func text(s string) Block { return Block{Text: s} }

func tool(name string, input map[string]any) Block {
	return Block{Tool: &Tool{Name: name, Input: input}}
}

func bash(command, description string) Block {
	return tool("Bash", map[string]any{"command": command, "description": description})
}

// background is a command that goes on while the model does.
func background(command string) Block {
	return tool("Bash", map[string]any{"command": command, "description": "work in the background", "run_in_background": true})
}

func turn(blocks ...Block) Turn { return Turn{Blocks: blocks} }

// question is the AskUserQuestion call that several scenarios use.
func question(q, header string, labels ...string) Block {
	options := make([]any, 0, len(labels))
	for _, label := range labels {
		options = append(options, map[string]any{"label": label, "description": "Use " + label})
	}
	return tool("AskUserQuestion", map[string]any{"questions": []any{map[string]any{
		"question": q, "header": header, "multiSelect": false, "options": options,
	}}})
}
