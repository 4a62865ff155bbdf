package claude

import (
	"bytes"
	"encoding/json"
	"strings"
)

// The CLI's stream-json protocol: one JSON object a line, both ways. Only what
// Poco reads is declared; the rest stays in the verbatim line.

// wireMessage is any line from the CLI.
type wireMessage struct {
	Type            string          `json:"type"`
	Subtype         string          `json:"subtype"`
	UUID            string          `json:"uuid"`
	SessionID       string          `json:"session_id"`
	ParentToolUseID string          `json:"parent_tool_use_id"`
	IsReplay        bool            `json:"isReplay"`
	Error           json.RawMessage `json:"error"`

	Message       *wireChat       `json:"message"`
	ToolUseResult json.RawMessage `json:"tool_use_result"`
	Event         *wireEvent      `json:"event"`

	// control_request and control_cancel_request.
	RequestID string           `json:"request_id"`
	Request   *controlRequest  `json:"request"`
	Response  *controlResponse `json:"response"`

	// system/init.
	Model      string       `json:"model"`
	CWD        string       `json:"cwd"`
	Version    string       `json:"claude_code_version"`
	Tools      []string     `json:"tools"`
	Skills     []string     `json:"skills"`
	McpServers []wireServer `json:"mcp_servers"`

	// system/init and system/status.
	PermissionMode string `json:"permissionMode"`

	// system/api_retry.
	Attempt      int32   `json:"attempt"`
	MaxRetries   int32   `json:"max_retries"`
	RetryDelayMS float64 `json:"retry_delay_ms"`
	ErrorStatus  int32   `json:"error_status"`

	// result.
	wireResult
}

type wireResult struct {
	IsError        bool                      `json:"is_error"`
	APIErrorStatus int32                     `json:"api_error_status"`
	Result         string                    `json:"result"`
	Errors         []string                  `json:"errors"`
	NumTurns       int64                     `json:"num_turns"`
	DurationMS     float64                   `json:"duration_ms"`
	DurationAPIMS  float64                   `json:"duration_api_ms"`
	TotalCostUSD   float64                   `json:"total_cost_usd"`
	Usage          wireUsage                 `json:"usage"`
	ModelUsage     map[string]wireModelUsage `json:"modelUsage"`
}

type wireUsage struct {
	InputTokens         int64 `json:"input_tokens"`
	OutputTokens        int64 `json:"output_tokens"`
	CacheReadTokens     int64 `json:"cache_read_input_tokens"`
	CacheCreationTokens int64 `json:"cache_creation_input_tokens"`
}

func (u wireUsage) total() int64 {
	return u.InputTokens + u.OutputTokens + u.CacheReadTokens + u.CacheCreationTokens
}

type wireModelUsage struct {
	InputTokens         int64   `json:"inputTokens"`
	OutputTokens        int64   `json:"outputTokens"`
	CacheReadTokens     int64   `json:"cacheReadInputTokens"`
	CacheCreationTokens int64   `json:"cacheCreationInputTokens"`
	CostUSD             float64 `json:"costUSD"`
}

type wireServer struct {
	Name   string `json:"name"`
	Status string `json:"status"`
	Error  string `json:"error"`
}

// wireChat is a message of the conversation.
type wireChat struct {
	ID         string      `json:"id"`
	Role       string      `json:"role"`
	Model      string      `json:"model"`
	StopReason string      `json:"stop_reason"`
	Content    wireContent `json:"content"`
	Usage      wireUsage   `json:"usage"`
}

// wireContent is a string or a list of blocks.
type wireContent []wireBlock

type wireBlock struct {
	Type      string          `json:"type"`
	Text      string          `json:"text"`
	Thinking  string          `json:"thinking"`
	ID        string          `json:"id"`
	Name      string          `json:"name"`
	Input     json.RawMessage `json:"input"`
	ToolUseID string          `json:"tool_use_id"`
	Content   wireContent     `json:"content"`
	IsError   bool            `json:"is_error"`

	raw json.RawMessage
}

// UnmarshalJSON reads a string as one text block. What is neither a string nor
// a list of objects becomes one block of unknown type: a strange message must
// not be lost.
func (c *wireContent) UnmarshalJSON(data []byte) error {
	var s string
	if bytes.Equal(data, []byte("null")) {
		*c = nil
		return nil
	}
	if json.Unmarshal(data, &s) == nil {
		*c = wireContent{{Type: blockText, Text: s, raw: data}}
		return nil
	}
	var raws []json.RawMessage
	if json.Unmarshal(data, &raws) != nil {
		raws = []json.RawMessage{data}
	}
	blocks := make(wireContent, 0, len(raws))
	for _, raw := range raws {
		var b struct {
			Type      string          `json:"type"`
			Text      string          `json:"text"`
			Thinking  string          `json:"thinking"`
			ID        string          `json:"id"`
			Name      string          `json:"name"`
			Input     json.RawMessage `json:"input"`
			ToolUseID string          `json:"tool_use_id"`
			Content   wireContent     `json:"content"`
			IsError   bool            `json:"is_error"`
		}
		if json.Unmarshal(raw, &b) != nil {
			blocks = append(blocks, wireBlock{Type: "unreadable", raw: raw})
			continue
		}
		blocks = append(blocks, wireBlock{
			Type: b.Type, Text: b.Text, Thinking: b.Thinking, ID: b.ID, Name: b.Name, Input: b.Input,
			ToolUseID: b.ToolUseID, Content: b.Content, IsError: b.IsError, raw: raw,
		})
	}
	*c = blocks
	return nil
}

const (
	blockText       = "text"
	blockThinking   = "thinking"
	blockToolUse    = "tool_use"
	blockToolResult = "tool_result"
)

// text joins the text blocks; other blocks are named in brackets.
func (c wireContent) text() string {
	parts := make([]string, 0, len(c))
	for _, b := range c {
		if b.Type == blockText {
			parts = append(parts, b.Text)
		} else {
			parts = append(parts, "["+b.Type+"]")
		}
	}
	return strings.Join(parts, "\n")
}

// wireEvent is an event of the model's stream.
type wireEvent struct {
	Type    string    `json:"type"`
	Index   int32     `json:"index"`
	Message *wireChat `json:"message"`
	Delta   struct {
		Type     string `json:"type"`
		Text     string `json:"text"`
		Thinking string `json:"thinking"`
	} `json:"delta"`
	Usage *wireUsage `json:"usage"`
}

// controlRequest is a request of either side.
type controlRequest struct {
	Subtype   string          `json:"subtype"`
	ToolName  string          `json:"tool_name,omitempty"`
	ToolUseID string          `json:"tool_use_id,omitempty"`
	Input     json.RawMessage `json:"input,omitempty"`
}

type controlResponse struct {
	Subtype   string `json:"subtype"`
	RequestID string `json:"request_id"`
	Error     string `json:"error,omitempty"`
	Response  any    `json:"response,omitempty"`
}

type permission struct {
	Behavior     string `json:"behavior"`
	UpdatedInput any    `json:"updatedInput,omitempty"`
	Message      string `json:"message,omitempty"`
}

func allow(input any) permission { return permission{Behavior: "allow", UpdatedInput: input} }
func deny(why string) permission { return permission{Behavior: "deny", Message: why} }

func controlAnswer(requestID string, response any) any {
	return map[string]any{
		"type":     "control_response",
		"response": controlResponse{Subtype: "success", RequestID: requestID, Response: response},
	}
}

func controlError(requestID, why string) any {
	return map[string]any{
		"type":     "control_response",
		"response": controlResponse{Subtype: "error", RequestID: requestID, Error: why},
	}
}

func control(requestID, subtype string) any {
	return map[string]any{
		"type": "control_request", "request_id": requestID,
		"request": controlRequest{Subtype: subtype},
	}
}

// userMessage carries an id that the CLI keeps in its transcript, see Took.
func userMessage(id, text string) any {
	return map[string]any{
		"type":               "user",
		"uuid":               id,
		"message":            map[string]any{"role": "user", "content": text},
		"parent_tool_use_id": nil,
		"session_id":         "default",
	}
}

// initializeRequest carries explicit null hooks, as the agent SDK does.
func initializeRequest(requestID string) any {
	return map[string]any{
		"type": "control_request", "request_id": requestID,
		"request": map[string]any{"subtype": "initialize", "hooks": nil},
	}
}
