package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

const (
	// foldedBytes is how long a text must be to be stored only once where a
	// message has it several times.
	foldedBytes = 512
	// mark comes before a document that texts were left out of, and encloses what
	// stands for each of them. No JSON document has one.
	mark = "\x00"
)

// encodings are how a text may stand in a JSON document: as most write it, and as
// Go does by default.
var encodings = []func(string) string{
	func(s string) string { return jsonString(s, false) },
	func(s string) string { return jsonString(s, true) },
}

// EncodePayload encodes an event for its column, and tells its size as it is
// read. A message is there in blocks and once more as the agent sent it; long
// texts of the blocks are left out of the latter, where they are to the byte what
// DecodePayload puts in again. Long diffs of changed files are added to diffs, from
// where FillDiffs puts them in again.
func EncodePayload(payload *backendv1.EventPayload, diffs *Diffs) (raw []byte, size int, err error) {
	if payload.GetFilesChanged() != nil {
		raw, err = Marshal(diffs.share(payload))
		return raw, proto.Size(payload), err
	}
	m := payload.GetMessageAdded()
	verbatim := m.GetVerbatimJson()
	if len(verbatim) < foldedBytes || strings.Contains(verbatim, mark) {
		raw, err = Marshal(payload)
		return raw, len(raw), err
	}
	size = proto.Size(payload)
	m.VerbatimJson = mark + fold(verbatim, longTexts(m))
	defer func() { m.VerbatimJson = verbatim }()
	raw, err = Marshal(payload)
	return raw, size, err
}

// DecodePayload is the inverse of EncodePayload, but for diffs.
func DecodePayload(raw []byte) (*backendv1.EventPayload, error) {
	payload := new(backendv1.EventPayload)
	if err := proto.Unmarshal(raw, payload); err != nil {
		return nil, err
	}
	m := payload.GetMessageAdded()
	folded, ok := strings.CutPrefix(m.GetVerbatimJson(), mark)
	if !ok {
		return payload, nil
	}
	unfolded, err := unfold(folded, longTexts(m))
	if err != nil {
		return nil, err
	}
	m.VerbatimJson = unfolded
	return payload, nil
}

// fold leaves texts out of a JSON document: its own marks say which of them
// stood where, and how they were written.
func fold(document string, texts []string) string {
	for i, text := range texts {
		for j, encode := range encodings {
			document = strings.ReplaceAll(document, encode(text), mark+strconv.Itoa(i)+":"+strconv.Itoa(j)+mark)
		}
	}
	return document
}

func unfold(document string, texts []string) (string, error) {
	var out strings.Builder
	for i, part := range strings.Split(document, mark) {
		if i%2 == 0 {
			out.WriteString(part)
			continue
		}
		text, encoding, _ := strings.Cut(part, ":")
		n, err := strconv.Atoi(text)
		m, err2 := strconv.Atoi(encoding)
		if err != nil || err2 != nil || n >= len(texts) || m >= len(encodings) {
			return "", fmt.Errorf("the message refers to text %q, which it has not", part)
		}
		out.WriteString(encodings[m](texts[n]))
	}
	return out.String(), nil
}

// longTexts are the long texts in a message's blocks, in an order that depends on
// nothing else.
func longTexts(m *backendv1.MessageAdded) []string {
	var texts []string
	add := func(s string) {
		if len(s) >= foldedBytes {
			texts = append(texts, s)
		}
	}
	for _, block := range m.GetBlocks() {
		switch kind := block.GetKind().(type) {
		case *backendv1.ContentBlock_Text:
			add(kind.Text.GetText())
		case *backendv1.ContentBlock_Thinking:
			add(kind.Thinking.GetThinking())
		case *backendv1.ContentBlock_ToolResult:
			add(kind.ToolResult.GetContent())
		case *backendv1.ContentBlock_ToolUse:
			addTexts(structpb.NewStructValue(kind.ToolUse.GetInput()), add)
		}
	}
	return texts
}

func addTexts(v *structpb.Value, add func(string)) {
	switch kind := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		add(kind.StringValue)
	case *structpb.Value_ListValue:
		for _, item := range kind.ListValue.GetValues() {
			addTexts(item, add)
		}
	case *structpb.Value_StructValue:
		fields := kind.StructValue.GetFields()
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			addTexts(fields[name], add)
		}
	}
}

func jsonString(s string, escapeHTML bool) string {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(escapeHTML)
	if encoder.Encode(s) != nil {
		return mark // never: every string can be encoded
	}
	return strings.TrimSuffix(out.String(), "\n")
}
