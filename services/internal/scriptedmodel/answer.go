package scriptedmodel

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/poco-ai/poco/services/internal/retry"
)

// pieceRunes is about how much text one streamed piece carries.
const pieceRunes = 16

// wireBlock is a content block as the API sends it.
type wireBlock struct {
	Type      string          `json:"type"`
	Text      json.RawMessage `json:"text,omitempty"`
	Thinking  string          `json:"thinking,omitempty"`
	Signature string          `json:"signature,omitempty"`
	ID        string          `json:"id,omitempty"`
	Name      string          `json:"name,omitempty"`
	Input     json.RawMessage `json:"input,omitempty"`

	pause time.Duration
	// pieces are the deltas of the block, as JSON objects.
	pieces []json.RawMessage
	// start is the block as content_block_start carries it.
	start map[string]any
}

// messages is the Messages API.
type messages struct{}

func (messages) read(r *http.Request, body []byte) (*messagesRequest, error) {
	req := &messagesRequest{}
	if err := json.Unmarshal(body, req); err != nil {
		return nil, err
	}
	if r.Header.Get("Anthropic-Version") == "" {
		return nil, errors.New("anthropic-version: header is required")
	}
	return req, nil
}

func (messages) fail(w http.ResponseWriter, e *Error) {
	writeJSON(w, e.Status, map[string]any{
		"type":  "error",
		"error": map[string]any{"type": e.Type, "message": e.Message},
	})
}

// answer sends a turn, as a stream or in one piece.
func (messages) answer(h *Handler, w http.ResponseWriter, r *http.Request, req *messagesRequest, c *conversation, t Turn) {
	usage, id := t.usage(), c.id()
	blocks, stopReason := make([]wireBlock, 0, len(t.Blocks)), "end_turn"
	for i, b := range t.Blocks {
		if b.Tool != nil {
			stopReason = "tool_use"
		}
		blocks = append(blocks, h.wire(c, b, fmt.Sprintf("toolu_%s_%d", id, i)))
	}
	if !req.Stream {
		writeJSON(w, http.StatusOK, map[string]any{
			"id": "msg_" + id, "type": "message", "role": "assistant", "model": req.Model,
			"content": blocks, "stop_reason": stopReason, "stop_sequence": nil, "usage": usage,
		})
		return
	}
	s := newEventStream(w, r)
	first := usage
	first.OutputTokens = 1
	s.send("message_start", map[string]any{"message": map[string]any{
		"id": "msg_" + id, "type": "message", "role": "assistant", "model": req.Model,
		"content": []any{}, "stop_reason": nil, "stop_sequence": nil, "usage": first,
	}})
	for i, b := range blocks {
		s.send("content_block_start", map[string]any{"index": i, "content_block": b.start})
		for j, piece := range b.pieces {
			if j > 0 {
				s.pause(b.pause)
			}
			s.send("content_block_delta", map[string]any{"index": i, "delta": piece})
		}
		s.send("content_block_stop", map[string]any{"index": i})
	}
	if t.Break != nil && h.fails(c, "break", t.Break.Times) {
		s.breakOff(t.Break)
		return
	}
	s.send("message_delta", map[string]any{
		"delta": map[string]any{"stop_reason": stopReason, "stop_sequence": nil},
		"usage": map[string]any{"output_tokens": usage.OutputTokens},
	})
	s.send("message_stop", map[string]any{})
}

func (h *Handler) wire(c *conversation, b Block, toolID string) wireBlock {
	switch {
	case b.Tool != nil:
		input := b.Tool.RawInput
		if input == nil {
			input = mustJSON(c.expandInput(b.Tool.Input))
		}
		w := wireBlock{Type: "tool_use", ID: toolID, Name: b.Tool.Name, Input: input}
		w.start = map[string]any{"type": "tool_use", "id": toolID, "name": b.Tool.Name, "input": map[string]any{}}
		w.pieces = []json.RawMessage{mustJSON(map[string]any{"type": "input_json_delta", "partial_json": string(input)})}
		return w
	case b.Thinking != "":
		w := wireBlock{Type: "thinking", Thinking: b.Thinking, Signature: "scripted"}
		w.start = map[string]any{"type": "thinking", "thinking": "", "signature": ""}
		w.pieces = []json.RawMessage{
			mustJSON(map[string]any{"type": "thinking_delta", "thinking": b.Thinking}),
			mustJSON(map[string]any{"type": "signature_delta", "signature": w.Signature}),
		}
		return w
	case b.RawText != nil:
		w := wireBlock{Type: "text", Text: b.RawText}
		w.start = map[string]any{"type": "text", "text": ""}
		w.pieces = []json.RawMessage{mustJSON(map[string]any{"type": "text_delta", "text": b.RawText})}
		return w
	default:
		whole := c.expand(b.Text)
		w := wireBlock{Type: "text", Text: mustJSON(whole), pause: b.Pause}
		if w.pause == 0 {
			w.pause = h.opts.Pace
		}
		w.start = map[string]any{"type": "text", "text": ""}
		for _, piece := range pieces(whole) {
			w.pieces = append(w.pieces, mustJSON(map[string]any{"type": "text_delta", "text": piece}))
		}
		return w
	}
}

// pieces cuts text after spaces into pieces of about pieceRunes.
func pieces(s string) []string {
	var out []string
	var piece strings.Builder
	n := 0
	for _, word := range strings.SplitAfter(s, " ") {
		piece.WriteString(word)
		if n += len([]rune(word)); n >= pieceRunes {
			out = append(out, piece.String())
			piece.Reset()
			n = 0
		}
	}
	if piece.Len() > 0 {
		out = append(out, piece.String())
	}
	return out
}

// eventStream writes server-sent events until the client leaves.
type eventStream struct {
	w http.ResponseWriter
	r *http.Request
}

func newEventStream(w http.ResponseWriter, r *http.Request) *eventStream {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	return &eventStream{w: w, r: r}
}

func (s *eventStream) send(event string, data map[string]any) {
	if s.r.Context().Err() != nil {
		return
	}
	data["type"] = event
	// A failed write means that the client left, which ends the context.
	_, _ = fmt.Fprintf(s.w, "event: %s\ndata: %s\n\n", event, mustJSON(data))
	_ = http.NewResponseController(s.w).Flush()
}

// data writes an event without a name.
func (s *eventStream) data(data []byte) {
	if s.r.Context().Err() != nil {
		return
	}
	_, _ = fmt.Fprintf(s.w, "data: %s\n\n", data) // see send
	_ = http.NewResponseController(s.w).Flush()
}

// breakOff ends the stream where it is.
func (s *eventStream) breakOff(b *Break) {
	switch {
	case b.Error != nil:
		s.send("error", map[string]any{"error": map[string]any{"type": b.Error.Type, "message": b.Error.Message}})
	case !b.Ends:
		panic(http.ErrAbortHandler) // Cuts the connection.
	}
}

func (s *eventStream) pause(d time.Duration) {
	if d > 0 {
		retry.Pause(s.r.Context(), d) // send finds out that the client left
	}
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(mustJSON(body)) // The client left; there is nobody to tell.
}

// mustJSON encodes what this package itself built. HTML escapes are off, so
// that RawText arrives as written.
func mustJSON(v any) json.RawMessage {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(fmt.Sprintf("scriptedmodel: encoding %T: %v", v, err))
	}
	return bytes.TrimSpace(buf.Bytes())
}
