package workspace

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/poco-ai/poco/services/internal/sanitize"
)

// readAtStart are the files that the agent and its git read before they do
// anything, in the working directory and above it.
var readAtStart = []string{".gitignore", ".gitattributes", ".gitmodules", ".mcp.json", "CLAUDE.md", "CLAUDE.local.md", "AGENTS.md", "AGENTS.override.md", ".gitconfig"}

// removePipes removes the named pipes that an earlier run has put where files
// are read: the agent would wait for them for ever, and nobody could remove them
// any more. There is nothing in a pipe to be lost.
func (w *Workspace) removePipes() {
	for _, dir := range []string{w.Dir, w.opts.Root, w.HomeDir} {
		for _, base := range readAtStart {
			w.removePipe(filepath.Join(dir, base))
		}
	}
	for _, folder := range []string{
		filepath.Join(w.Dir, ".git"), filepath.Join(w.Dir, ".claude"), filepath.Join(w.Dir, ".codex"), filepath.Join(w.Dir, ".opencode"), filepath.Join(w.HomeDir, ".config"), w.AgentDir,
	} {
		// What cannot be looked at is nothing that the agent would wait for.
		_ = filepath.WalkDir(folder, func(name string, e fs.DirEntry, err error) error {
			if err == nil && e.IsDir() && isObjects(name) {
				return fs.SkipDir
			}
			if err == nil && e.Type() == fs.ModeNamedPipe {
				w.removePipe(name)
			}
			return nil
		})
	}
}

// removePipe removes a file when it is a named pipe, and says so.
func (w *Workspace) removePipe(name string) {
	info, err := os.Lstat(name)
	if err != nil || info.Mode().Type() != fs.ModeNamedPipe {
		return
	}
	what := "has been removed"
	if err := os.Remove(name); err != nil {
		what = fmt.Sprintf("could not be removed: %v", err)
	}
	if below, err := filepath.Rel(w.opts.Root, name); err == nil && filepath.IsLocal(below) {
		name = below
	}
	w.Notices = append(w.Notices, fmt.Sprintf("%s was a named pipe, for which the agent would have waited for ever. It %s.", sanitize.Text(name), what))
}

// isObjects tells a folder of single objects, of which there are many.
func isObjects(folder string) bool {
	return filepath.Base(filepath.Dir(folder)) == "objects" && len(filepath.Base(folder)) == 2
}

// isRule tells whether git reads a file in whatever folder it is.
func isRule(name string) bool {
	return slices.Contains([]string{".gitignore", ".gitattributes"}, name[strings.LastIndexByte(name, '/')+1:])
}
