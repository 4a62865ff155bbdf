package run

import (
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/proto"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/internal/sanitize"
)

const (
	// defaultEventBytes is the event size limit when none is given, and
	// largestEventBytes the highest: gRPC clients refuse more than 4 MiB.
	defaultEventBytes = 1 << 20
	largestEventBytes = 2 << 20
	// smallestCut is where cutting ends; an event is never cut to nothing.
	smallestCut = 64
)

// save keeps the full text of a tool's answer and returns where.
type save func(toolUseID, text string) (string, error)

// cut shortens the long texts of a message until the event fits the limit.
// The marks it leaves say how much is missing; a tool's whole answer is saved.
func cut(payload *executorv1.RunEventPayload, limit int64, keep save) {
	if limit <= 0 {
		limit = defaultEventBytes
	}
	limit = min(limit, largestEventBytes)
	m := payload.GetMessageAdded()
	if m == nil || int64(proto.Size(payload)) <= limit {
		return
	}
	saved := map[string]string{}
	original := proto.CloneOf(m)
	for size := int(limit / 4); ; size /= 2 {
		for i, b := range original.GetBlocks() {
			m.Blocks[i] = cutBlock(b, size, saved, keep)
		}
		m.VerbatimJson = cutJSON(original.GetVerbatimJson(), size)
		if int64(proto.Size(payload)) <= limit || size <= smallestCut {
			return
		}
	}
}

func cutBlock(b *backendv1.ContentBlock, size int, saved map[string]string, keep save) *backendv1.ContentBlock {
	b = proto.CloneOf(b)
	switch k := b.GetKind().(type) {
	case *backendv1.ContentBlock_Text:
		k.Text.Text = cutText(k.Text.GetText(), size, "")
	case *backendv1.ContentBlock_Thinking:
		k.Thinking.Thinking = cutText(k.Thinking.GetThinking(), size, "")
	case *backendv1.ContentBlock_ToolUse:
		if data, err := k.ToolUse.GetInput().MarshalJSON(); err == nil && len(data) > size {
			// What is left of valid JSON is valid JSON.
			_ = k.ToolUse.GetInput().UnmarshalJSON([]byte(cutJSON(string(data), size)))
		}
	case *backendv1.ContentBlock_ToolResult:
		r := k.ToolResult
		if len(r.GetContent()) <= size {
			break
		}
		where, ok := saved[r.GetToolUseId()]
		if !ok {
			if path, err := keep(r.GetToolUseId(), r.GetContent()); err == nil {
				where = "; the whole text is in " + path
			}
			saved[r.GetToolUseId()] = where
		}
		r.Truncated, r.FullSize = true, int64(len(r.GetContent()))
		r.Content = cutText(r.GetContent(), size, where)
	case *backendv1.ContentBlock_Other:
		k.Other.Json = cutJSON(k.Other.GetJson(), size)
	}
	return b
}

// cutText keeps the beginning of s and says that it was cut.
func cutText(s string, size int, where string) string {
	if len(s) <= size {
		return s
	}
	kept := sanitize.Head(s, size)
	return fmt.Sprintf("%s\n… [cut: %d of %d bytes%s]", kept, len(kept), len(s), where)
}

// cutJSON shortens the strings in a JSON document.
func cutJSON(document string, size int) string {
	if len(document) <= size {
		return document
	}
	var v any
	if json.Unmarshal([]byte(document), &v) != nil {
		return "null"
	}
	data, err := json.Marshal(cutValue(v, size))
	if err != nil {
		return "null"
	}
	return string(data)
}

func cutValue(v any, size int) any {
	switch v := v.(type) {
	case string:
		return cutText(v, size, "")
	case map[string]any:
		for key, value := range v {
			v[key] = cutValue(value, size)
		}
		return v
	case []any:
		// Many small parts are as large as one large part.
		if most := max(size/16, 4); len(v) > most {
			v = append(v[:most:most], fmt.Sprintf("… [cut: %d of %d items]", most, len(v)))
		}
		for i, value := range v {
			v[i] = cutValue(value, size)
		}
		return v
	default:
		return v
	}
}
