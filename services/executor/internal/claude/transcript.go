package claude

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/poco-ai/poco/services/executor/internal/process"
)

// transcriptEntry is a line of a transcript, which is not the protocol's: it
// nests the same message, but spells some of what is around it differently.
type transcriptEntry struct {
	Type          string          `json:"type"`
	UUID          string          `json:"uuid"`
	ParentUUID    string          `json:"parentUuid"`
	SessionID     string          `json:"sessionId"`
	IsSidechain   bool            `json:"isSidechain"`
	IsMeta        bool            `json:"isMeta"`
	Message       json.RawMessage `json:"message"`
	ToolUseResult json.RawMessage `json:"toolUseResult"`
}

// Took implements agent.Driver: it returns the conversation in whose transcript the prompt with an id is;
// empty when none has it. The CLI writes a prompt down before it makes its first
// call to the model and before it says that it has started, so a prompt that is
// in no transcript has had no effect.
func (Driver) Took(stateDir, promptID string) (conversation string, err error) {
	err = eachTranscript(stateDir, "*", func(name string, file io.Reader) error {
		return eachLine(file, func(line []byte) bool {
			if isPrompt(line, promptID) {
				conversation = strings.TrimSuffix(path.Base(name), ".jsonl")
			}
			return conversation == ""
		})
	})
	return conversation, err
}

func isPrompt(line []byte, promptID string) bool {
	if !bytes.Contains(line, []byte(promptID)) {
		return false
	}
	var entry transcriptEntry
	return json.Unmarshal(line, &entry) == nil && entry.Type == "user" && entry.UUID == promptID
}

// Whole implements agent.Driver: it tells whether the transcript of a conversation has its beginning. When
// the agent removes it, the CLI goes on with one that has only what came later,
// and would resume that as if it were all. A transcript that is not there at all
// is for the CLI to miss.
func (Driver) Whole(stateDir, conversation string) bool {
	whole := true
	err := eachTranscript(stateDir, conversation, func(_ string, file io.Reader) error {
		whole = false
		return eachLine(file, func(line []byte) bool {
			var entry transcriptEntry
			if json.Unmarshal(line, &entry) != nil || entry.UUID == "" {
				return true
			}
			whole = entry.ParentUUID == "" // the first message follows on none
			return false
		})
	})
	return whole && err == nil
}

// written are the messages of a conversation that the agent wrote down after a
// prompt, as the CLI would have printed them: the model's, and the results of its
// calls. What sub-agents said is in files of their own and not among them.
func written(configDir, conversation, promptID string) (lines [][]byte, err error) {
	err = eachTranscript(configDir, conversation, func(_ string, file io.Reader) error {
		asked := false
		return eachLine(file, func(line []byte) bool {
			switch {
			case !asked:
				asked = isPrompt(line, promptID)
			default:
				if printed := asPrinted(line); printed != nil {
					lines = append(lines, printed)
				}
			}
			return true
		})
	})
	return lines, err
}

// syntheticModel is whose the messages are that the CLI makes up for the model.
const syntheticModel = "<synthetic>"

// asPrinted returns an entry as a line of the protocol, nil for what the CLI
// does not print.
func asPrinted(line []byte) []byte {
	var entry transcriptEntry
	var said struct {
		Model   string      `json:"model"`
		Content wireContent `json:"content"`
	}
	if json.Unmarshal(line, &entry) != nil || entry.IsSidechain || entry.IsMeta || json.Unmarshal(entry.Message, &said) != nil {
		return nil
	}
	switch {
	case entry.Type == "assistant" && said.Model != syntheticModel:
	case entry.Type == "user" && len(said.Content) > 0 && said.Content[0].Type == blockToolResult:
	default:
		return nil
	}
	printed, err := json.Marshal(struct {
		Type          string          `json:"type"`
		Message       json.RawMessage `json:"message"`
		Parent        *string         `json:"parent_tool_use_id"`
		SessionID     string          `json:"session_id"`
		UUID          string          `json:"uuid"`
		ToolUseResult json.RawMessage `json:"tool_use_result,omitempty"`
	}{entry.Type, entry.Message, nil, entry.SessionID, entry.UUID, entry.ToolUseResult})
	if err != nil {
		return nil
	}
	return printed
}

// eachTranscript reads the transcripts of a conversation, or of all ("*"), that
// are there. The agent can put anything in their place: what is no regular file
// reads as an empty one.
func eachTranscript(configDir, conversation string, read func(name string, file io.Reader) error) error {
	root, err := os.OpenRoot(configDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open the conversations: %w", err)
	}
	defer root.Close()
	names, err := fs.Glob(root.FS(), "projects/*/"+conversation+".jsonl")
	if err != nil {
		return fmt.Errorf("list the conversations: %w", err)
	}
	for _, name := range names {
		if err := readTranscript(root, name, read); err != nil {
			return fmt.Errorf("read a conversation: %w", err)
		}
	}
	return nil
}

func readTranscript(root *os.Root, name string, read func(name string, file io.Reader) error) error {
	local := filepath.FromSlash(name)
	info, err := root.Stat(local)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return read(name, strings.NewReader(""))
	}
	file, err := root.Open(local)
	if err != nil {
		return err
	}
	defer file.Close()
	return read(name, file)
}

// eachLine calls use until it returns false. What is longer than any message
// comes cut.
func eachLine(file io.Reader, use func(line []byte) bool) error {
	r := bufio.NewReaderSize(file, 1<<16)
	for {
		line, _, err := process.ReadLine(r)
		if len(line) > 0 && !use(line) || errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
