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
)

// Took returns the conversation in whose transcript the prompt with an id is;
// empty when none has it. The CLI writes a prompt down before it makes its first
// call to the model and before it says that it has started, so a prompt that is
// in no transcript has had no effect.
func Took(configDir, promptID string) (conversation string, err error) {
	root, err := os.OpenRoot(configDir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("open the conversations: %w", err)
	}
	defer root.Close()
	transcripts, err := fs.Glob(root.FS(), "projects/*/*.jsonl")
	if err != nil {
		return "", fmt.Errorf("list the conversations: %w", err)
	}
	for _, name := range transcripts {
		found, err := hasPrompt(root, filepath.FromSlash(name), promptID)
		if err != nil {
			return "", fmt.Errorf("read a conversation: %w", err)
		}
		if found {
			return strings.TrimSuffix(path.Base(name), ".jsonl"), nil
		}
	}
	return "", nil
}

func hasPrompt(root *os.Root, name, promptID string) (bool, error) {
	if info, err := root.Stat(name); err != nil || !info.Mode().IsRegular() {
		return false, err // the agent can put anything there
	}
	file, err := root.Open(name)
	if err != nil {
		return false, err
	}
	defer file.Close()
	r := bufio.NewReaderSize(file, 1<<16)
	for {
		line, _, err := readLine(r)
		if bytes.Contains(line, []byte(promptID)) {
			var entry struct{ Type, UUID string }
			if json.Unmarshal(line, &entry) == nil && entry.Type == "user" && entry.UUID == promptID {
				return true, nil
			}
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return false, err
		}
	}
}

// Whole tells whether the transcript of a conversation has its beginning. When
// the agent removes it, the CLI goes on with one that has only what came later,
// and would resume that as if it were all. A transcript that is not there at all
// is for the CLI to miss.
func Whole(configDir, conversation string) bool {
	root, err := os.OpenRoot(configDir)
	if err != nil {
		return true
	}
	defer root.Close()
	found, err := fs.Glob(root.FS(), "projects/*/"+conversation+".jsonl")
	if err != nil || len(found) == 0 {
		return true
	}
	if info, err := root.Stat(filepath.FromSlash(found[0])); err != nil || !info.Mode().IsRegular() {
		return false // the agent can put anything there
	}
	file, err := root.Open(filepath.FromSlash(found[0]))
	if err != nil {
		return false
	}
	defer file.Close()
	r := bufio.NewReaderSize(file, 1<<16)
	for {
		line, _, err := readLine(r)
		var entry struct{ UUID, ParentUUID string }
		if json.Unmarshal(line, &entry) == nil && entry.UUID != "" {
			return entry.ParentUUID == "" // the first message follows on none
		}
		if err != nil {
			return false // no message at all
		}
	}
}
