package scriptedmodel

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// openAIError writes an error as OpenAI's APIs do.
func openAIError(w http.ResponseWriter, e *Error) {
	writeJSON(w, e.Status, map[string]any{"error": map[string]any{"type": e.Type, "code": e.Type, "message": e.Message}})
}

// openAITool is a tool, or a namespace of tools.
type openAITool struct {
	Type     string       `json:"type"`
	Name     string       `json:"name"`
	Function *openAITool  `json:"function"`
	Tools    []openAITool `json:"tools"`
}

// named lists tools as the Messages API has them.
func named(tools []openAITool, namespace string) []json.RawMessage {
	var out []json.RawMessage
	for _, t := range tools {
		switch {
		case t.Function != nil:
			t.Name = t.Function.Name
		case t.Type == "namespace":
			out = append(out, named(t.Tools, t.Name)...)
			continue
		}
		out = append(out, mustJSON(offered{Name: t.Name, Namespace: namespace}))
	}
	return out
}

// says adds a block to the last message, if that is of the same role, or else to a
// new one: these APIs have an answer in several items.
func (r *messagesRequest) says(role string, blocks ...contentBlock) {
	if n := len(r.Messages); n > 0 && r.Messages[n-1].Role == role {
		r.Messages[n-1].Content = append(r.Messages[n-1].Content, blocks...)
		return
	}
	r.Messages = append(r.Messages, message{Role: role, Content: blocks})
}

// chat is the Chat Completions API.
type chat struct{}

func (chat) fail(w http.ResponseWriter, e *Error) { openAIError(w, e) }

func (chat) read(r *http.Request, body []byte) (*messagesRequest, error) {
	var in struct {
		Model    string       `json:"model"`
		Stream   bool         `json:"stream"`
		Tools    []openAITool `json:"tools"`
		Messages []struct {
			Role       string  `json:"role"`
			Content    content `json:"content"`
			ToolCallID string  `json:"tool_call_id"`
			ToolCalls  []struct {
				ID       string `json:"id"`
				Function struct {
					Name      string `json:"name"`
					Arguments string `json:"arguments"`
				} `json:"function"`
			} `json:"tool_calls"`
		} `json:"messages"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, err
	}
	req := &messagesRequest{Model: in.Model, Stream: in.Stream, Tools: named(in.Tools, "")}
	req.Metadata.UserID = r.Header.Get("X-Session-Id")
	for _, m := range in.Messages {
		switch m.Role {
		case "tool":
			req.says("user", contentBlock{Type: "tool_result", ToolUseID: m.ToolCallID, Content: m.Content})
			continue
		case "developer":
			m.Role = "system"
		}
		req.says(m.Role, m.Content...)
		for _, call := range m.ToolCalls {
			req.says(m.Role, contentBlock{Type: "tool_use", ID: call.ID, Name: call.Function.Name, Input: json.RawMessage(call.Function.Arguments)})
		}
	}
	return req, nil
}

func (chat) answer(h *Handler, w http.ResponseWriter, r *http.Request, req *messagesRequest, c *conversation, t Turn) {
	id, usage, finish := c.id(), t.usage(), "stop"
	s := newEventStream(w, r)
	chunk := func(delta map[string]any, finish any) map[string]any {
		return map[string]any{
			"id": "chatcmpl-" + id, "object": "chat.completion.chunk", "created": 1, "model": req.Model,
			"choices": []any{map[string]any{"index": 0, "delta": delta, "finish_reason": finish}},
		}
	}
	calls := 0
	for i, b := range t.Blocks {
		switch {
		case b.Tool != nil:
			finish = "tool_calls"
			call := h.call(req, c, b.Tool)
			s.data(mustJSON(chunk(map[string]any{"role": "assistant", "tool_calls": []any{map[string]any{
				"index": calls, "id": fmt.Sprintf("call_%s_%d", id, i), "type": "function",
				"function": map[string]any{"name": call.name, "arguments": string(call.input)},
			}}}, nil)))
			calls++
		case b.Thinking != "":
			s.data(mustJSON(chunk(map[string]any{"role": "assistant", "reasoning_content": b.Thinking}, nil)))
		default:
			h.eachPiece(s, c, b, func(piece json.RawMessage) {
				s.data(mustJSON(chunk(map[string]any{"role": "assistant", "content": piece}, nil)))
			})
		}
	}
	if t.Break != nil && h.fails(c, "break", t.Break.Times) {
		s.breakOff(t.Break)
		return
	}
	last := chunk(map[string]any{}, finish)
	last["usage"] = map[string]any{
		"prompt_tokens": usage.InputTokens, "completion_tokens": usage.OutputTokens, "total_tokens": usage.InputTokens + usage.OutputTokens,
	}
	s.data(mustJSON(last))
	s.data([]byte("[DONE]"))
}

// responses is the Responses API.
type responses struct{}

func (responses) fail(w http.ResponseWriter, e *Error) { openAIError(w, e) }

func (responses) read(_ *http.Request, body []byte) (*messagesRequest, error) {
	var in struct {
		Model        string       `json:"model"`
		Stream       bool         `json:"stream"`
		Instructions string       `json:"instructions"`
		Session      string       `json:"prompt_cache_key"`
		Tools        []openAITool `json:"tools"`
		Input        []struct {
			Type      string          `json:"type"`
			Role      string          `json:"role"`
			Content   content         `json:"content"`
			CallID    string          `json:"call_id"`
			Name      string          `json:"name"`
			Arguments string          `json:"arguments"`
			Output    json.RawMessage `json:"output"`
		} `json:"input"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, err
	}
	req := &messagesRequest{
		Model: in.Model, Stream: in.Stream, Tools: named(in.Tools, ""), System: content{{Type: "text", Text: in.Instructions}},
	}
	req.Metadata.UserID = in.Session
	for _, item := range in.Input {
		switch item.Type {
		case "message":
			role := item.Role
			if role == "developer" {
				role = "system"
			}
			for i := range item.Content {
				item.Content[i].Type = "text" // input_text or output_text
			}
			req.says(role, item.Content...)
		case "function_call":
			req.says("assistant", contentBlock{Type: "tool_use", ID: item.CallID, Name: item.Name, Input: json.RawMessage(item.Arguments)})
		case "function_call_output":
			var output content
			if err := json.Unmarshal(item.Output, &output); err != nil {
				return nil, err
			}
			for i := range output {
				output[i].Type = "text"
			}
			req.says("user", contentBlock{Type: "tool_result", ToolUseID: item.CallID, Content: output})
		}
	}
	return req, nil
}

func (responses) answer(h *Handler, w http.ResponseWriter, r *http.Request, req *messagesRequest, c *conversation, t Turn) {
	id, usage := c.id(), t.usage()
	s := newEventStream(w, r)
	s.send("response.created", map[string]any{"response": map[string]any{"id": "resp_" + id}})
	output := make([]any, 0, len(t.Blocks))
	for i, b := range t.Blocks {
		var item map[string]any
		begin := func(now map[string]any) {
			s.send("response.output_item.added", map[string]any{"output_index": i, "item": now})
		}
		itemID := fmt.Sprintf("%s_%d", id, i)
		switch {
		case b.Tool != nil:
			call := h.call(req, c, b.Tool)
			item = map[string]any{
				"type": "function_call", "id": "fc_" + itemID, "call_id": "call_" + itemID, "name": call.name,
				"arguments": string(call.input), "status": "completed",
			}
			if call.namespace != "" {
				item["namespace"] = call.namespace
			}
			begin(item)
		case b.Thinking != "":
			item = map[string]any{
				"type": "reasoning", "id": "rs_" + itemID,
				"summary": []any{map[string]any{"type": "summary_text", "text": b.Thinking}},
			}
			begin(item)
			s.send("response.reasoning_summary_text.delta", map[string]any{"item_id": item["id"], "output_index": i, "summary_index": 0, "delta": b.Thinking})
		default:
			said := func(text any) map[string]any {
				return map[string]any{
					"type": "message", "id": "msg_" + itemID, "role": "assistant", "status": "completed",
					"content": []any{map[string]any{"type": "output_text", "text": text, "annotations": []any{}}},
				}
			}
			begin(said(""))
			item = said(h.eachPiece(s, c, b, func(piece json.RawMessage) {
				s.send("response.output_text.delta", map[string]any{"item_id": "msg_" + itemID, "output_index": i, "content_index": 0, "delta": piece})
			}))
		}
		s.send("response.output_item.done", map[string]any{"output_index": i, "item": item})
		output = append(output, item)
	}
	if t.Break != nil && h.fails(c, "break", t.Break.Times) {
		s.breakOff(t.Break)
		return
	}
	s.send("response.completed", map[string]any{"response": map[string]any{
		"id": "resp_" + id, "output": output, "usage": map[string]any{
			"input_tokens": usage.InputTokens, "output_tokens": usage.OutputTokens, "total_tokens": usage.InputTokens + usage.OutputTokens,
			"input_tokens_details": map[string]any{"cached_tokens": 0}, "output_tokens_details": map[string]any{"reasoning_tokens": 0},
		},
	}})
}
