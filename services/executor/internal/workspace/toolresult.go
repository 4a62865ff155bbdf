package workspace

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
)

var plainID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,100}$`)

// toolResultsDirName is where SaveToolResult puts its files, by run. The manager
// exports them from there.
const toolResultsDirName = "tool_results"

// SaveToolResult keeps the full text of a tool's answer that is too long for
// an event and returns where, relative to the state folder. No symbolic link of
// the agent's leads the write out of it.
func (w *Workspace) SaveToolResult(toolUseID, text string) (string, error) {
	if !plainID.MatchString(toolUseID) {
		sum := sha256.Sum256([]byte(toolUseID))
		toolUseID = hex.EncodeToString(sum[:16])
	}
	root, err := os.OpenRoot(w.opts.State)
	if err != nil {
		return "", fmt.Errorf("keeping a tool's answer: %w", err)
	}
	defer root.Close()
	dir := path.Join(toolResultsDirName, w.opts.RunID)
	if err := root.MkdirAll(filepath.FromSlash(dir), 0o755); err != nil {
		return "", fmt.Errorf("keeping a tool's answer: %w", err)
	}
	name := path.Join(dir, toolUseID+".txt")
	// Not over what is there: opening a FIFO of the agent's would never end.
	if err := root.Remove(filepath.FromSlash(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("keeping a tool's answer: %w", err)
	}
	if err := writeNew(root, filepath.FromSlash(name), text); err != nil {
		return "", fmt.Errorf("keeping a tool's answer: %w", err)
	}
	return name, nil
}

func writeNew(root *os.Root, name, text string) error {
	out, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = out.WriteString(text)
	return errors.Join(err, out.Close())
}
