package claude

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// restore adds to a conversation what its run's record has beyond it: the CLI
// prints a message before it writes it down, and was killed in between. Without
// that the agent would not know of a command that it had run, and run it again.
// said are the run's latest messages as the CLI printed them, oldest first, and
// before is the id of what they follow upon, when that is known.
func restore(configDir, conversation, before string, said []string) error {
	root, err := os.OpenRoot(configDir)
	if err != nil {
		return fmt.Errorf("open the conversations: %w", err)
	}
	defer root.Close()
	names, err := fs.Glob(root.FS(), "projects/*/"+conversation+".jsonl")
	if err != nil || len(names) != 1 {
		return errors.Join(err, fmt.Errorf("%d transcripts of conversation %s", len(names), conversation))
	}
	file, err := root.OpenFile(filepath.FromSlash(names[0]), os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return fmt.Errorf("open the conversation: %w", err)
	}
	addition, err := missing(file, before, said)
	if err == nil && len(addition) > 0 {
		_, err = file.Write(addition)
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("restore the conversation: %w", err)
	}
	return nil
}

// errApart says that it is not known where in a conversation something belongs.
var errApart = errors.New("the conversation has none of the run's latest messages")

// missing are the lines that a transcript lacks at its end.
func missing(transcript io.Reader, before string, said []string) ([]byte, error) {
	known := map[string]bool{}
	var last map[string]json.RawMessage // the latest message, or what belongs to it
	var leaf string
	whole := true
	err := eachLine(transcript, func(line []byte) bool {
		whole = line[len(line)-1] == '\n'
		var entry transcriptEntry
		if json.Unmarshal(line, &entry) != nil || entry.UUID == "" || entry.IsSidechain {
			return true
		}
		known[entry.UUID], leaf = true, entry.UUID
		last = nil
		return json.Unmarshal(line, &last) == nil
	})
	if err != nil || last == nil {
		return nil, err
	}
	messages := append(make([]wireEntry, 0, len(said)+1), wireEntry{UUID: before})
	for _, printed := range said {
		var m wireEntry
		if json.Unmarshal([]byte(printed), &m) != nil {
			m = wireEntry{} // its verbatim form was too long to be kept
		}
		if m.Parent == nil { // a sub-agent has a conversation of its own
			messages = append(messages, m)
		}
	}
	// What comes behind the latest that both have.
	after := -1
	for i, m := range slices.Backward(messages) {
		if known[m.UUID] {
			after = i
			break
		}
	}
	if after < 0 {
		return nil, errApart
	}
	var addition []byte
	if !whole {
		addition = append(addition, '\n')
	}
	for _, m := range messages[after+1:] {
		if m.UUID == "" {
			break // an answer without its call would not be understood
		}
		line, err := m.entry(last, leaf)
		if err != nil {
			return nil, err
		}
		addition, leaf = append(append(addition, line...), '\n'), m.UUID
	}
	return addition, nil
}

// wireEntry is what of a printed message is in a transcript as well.
type wireEntry struct {
	Type          string          `json:"type"`
	UUID          string          `json:"uuid"`
	Parent        *string         `json:"parent_tool_use_id"`
	Message       json.RawMessage `json:"message"`
	ToolUseResult json.RawMessage `json:"tool_use_result"`
}

// entry is the message as a line of a transcript that goes on from parent, with
// what each line of it says again and again taken from another one.
func (m *wireEntry) entry(other map[string]json.RawMessage, parent string) ([]byte, error) {
	line := map[string]any{
		"type": m.Type, "uuid": m.UUID, "parentUuid": parent, "isSidechain": false,
		"message": m.Message, "timestamp": time.Now().UTC().Format("2006-01-02T15:04:05.000Z"),
	}
	if len(m.ToolUseResult) > 0 {
		line["toolUseResult"] = m.ToolUseResult
	}
	for _, key := range []string{"sessionId", "cwd", "version", "gitBranch", "userType", "entrypoint"} {
		if value, ok := other[key]; ok {
			line[key] = value
		}
	}
	return json.Marshal(line)
}
