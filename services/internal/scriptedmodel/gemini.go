package scriptedmodel

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// gemini is the Gemini API.
type gemini struct{}

func (gemini) fail(w http.ResponseWriter, e *Error) {
	writeJSON(w, e.Status, map[string]any{"error": map[string]any{"code": e.Status, "status": strings.ToUpper(e.Type), "message": e.Message}})
}

type geminiContent struct {
	Role  string `json:"role"`
	Parts []struct {
		Text         string `json:"text"`
		Thought      bool   `json:"thought"`
		FunctionCall *struct {
			ID   string          `json:"id"`
			Name string          `json:"name"`
			Args json.RawMessage `json:"args"`
		} `json:"functionCall"`
		FunctionResponse *struct {
			ID       string         `json:"id"`
			Name     string         `json:"name"`
			Response map[string]any `json:"response"`
		} `json:"functionResponse"`
	} `json:"parts"`
}

func (g geminiContent) blocks() content {
	var blocks content
	for _, p := range g.Parts {
		switch {
		case p.FunctionCall != nil:
			blocks = append(blocks, contentBlock{Type: "tool_use", ID: p.FunctionCall.ID, Name: p.FunctionCall.Name, Input: p.FunctionCall.Args})
		case p.FunctionResponse != nil:
			said, ok := p.FunctionResponse.Response["output"].(string)
			if !ok {
				said = string(mustJSON(p.FunctionResponse.Response))
			}
			blocks = append(blocks, contentBlock{
				Type: "tool_result", ToolUseID: p.FunctionResponse.ID, Content: content{{Type: "text", Text: said}},
			})
		case !p.Thought:
			blocks = append(blocks, contentBlock{Type: "text", Text: p.Text})
		}
	}
	return blocks
}

func (gemini) read(r *http.Request, body []byte) (*messagesRequest, error) {
	var in struct {
		Contents []geminiContent `json:"contents"`
		System   geminiContent   `json:"systemInstruction"`
		Tools    []struct {
			Functions []openAITool `json:"functionDeclarations"`
		} `json:"tools"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, err
	}
	model, method, _ := strings.Cut(r.PathValue("call"), ":")
	req := &messagesRequest{Model: model, Stream: method == "streamGenerateContent", System: in.System.blocks()}
	for _, t := range in.Tools {
		req.Tools = append(req.Tools, named(t.Functions, "")...)
	}
	for _, said := range in.Contents {
		role := said.Role
		if role == "model" {
			role = "assistant"
		}
		req.says(role, said.blocks()...)
	}
	return req, nil
}

func (gemini) answer(h *Handler, w http.ResponseWriter, r *http.Request, req *messagesRequest, c *conversation, t Turn) {
	id, usage := c.id(), t.usage()
	s := newEventStream(w, r)
	chunk := func(finish string, parts ...any) map[string]any {
		candidate := map[string]any{"index": 0, "content": map[string]any{"role": "model", "parts": parts}}
		if finish != "" {
			candidate["finishReason"] = finish
		}
		return map[string]any{"candidates": []any{candidate}, "modelVersion": req.Model, "responseId": id}
	}
	parts := []any{}
	say := func(part any) {
		parts = append(parts, part)
		if req.Stream {
			s.data(mustJSON(chunk("", part)))
		}
	}
	for i, b := range t.Blocks {
		switch {
		case b.Tool != nil:
			call := h.call(req, c, b.Tool)
			say(map[string]any{"functionCall": map[string]any{"id": fmt.Sprintf("call_%s_%d", id, i), "name": call.name, "args": call.input}})
		case b.Thinking != "":
			say(map[string]any{"text": b.Thinking, "thought": true})
		default:
			h.eachPiece(s, c, b, func(piece json.RawMessage) { say(map[string]any{"text": piece}) })
		}
	}
	if t.Break != nil && h.fails(c, "break", t.Break.Times) {
		s.breakOff(t.Break)
		return
	}
	last := chunk("STOP", map[string]any{"text": ""})
	if !req.Stream {
		last = chunk("STOP", parts...)
	}
	last["usageMetadata"] = map[string]any{
		"promptTokenCount": usage.InputTokens, "candidatesTokenCount": usage.OutputTokens, "totalTokenCount": usage.InputTokens + usage.OutputTokens,
	}
	if !req.Stream {
		writeJSON(w, http.StatusOK, last)
		return
	}
	s.data(mustJSON(last))
}
