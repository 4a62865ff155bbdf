package workspace

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whatever an agent did to its repository, the next run has to be prepared,
// record its changes, and run nothing of the agent's.
func TestSpoiledRepositories(t *testing.T) {
	pwned := filepath.Join(t.TempDir(), "pwned")
	write := func(name, content string) func(*testing.T, string) {
		return func(t *testing.T, root string) {
			require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(root, name), []byte(content), 0o644))
		}
	}
	config := func(text string) func(*testing.T, string) { return write(".git/config", text) }
	replace := func(name string, put func(path string) error) func(*testing.T, string) {
		return func(t *testing.T, root string) {
			require.NoError(t, os.RemoveAll(filepath.Join(root, name)))
			require.NoError(t, put(filepath.Join(root, name)))
		}
	}
	linkTo := func(target string) func(string) error {
		return func(path string) error { return os.Symlink(target, path) }
	}
	fifo := func(path string) error { return syscall.Mkfifo(path, 0o644) }
	empty := t.TempDir()
	for name, c := range map[string]struct {
		spoil func(t *testing.T, root string)
	}{
		"unreadable config":      {spoil: config("[[[")},
		"bare":                   {spoil: config("[core]\nbare = true\n")},
		"another work tree":      {spoil: config("[core]\nworktree = /etc\n")},
		"unknown extension":      {spoil: config("[core]\nrepositoryformatversion = 1\n[extensions]\nnonsense = true\n")},
		"no HEAD":                {spoil: replace(".git/HEAD", func(string) error { return nil })},
		"a link elsewhere":       {spoil: replace(".git", linkTo(empty))},
		"a file":                 {spoil: replace(".git", func(path string) error { return os.WriteFile(path, nil, 0o644) })},
		"gone":                   {spoil: replace(".git", func(string) error { return nil })},
		"objects gone":           {spoil: replace(".git/objects", func(path string) error { return os.Mkdir(path, 0o755) })},
		"a folder as index lock": {spoil: write(".git/index.lock/x", "")},
		"a link as index":        {spoil: replace(".git/index", linkTo("/etc/passwd"))},
		"a link as excludes":     {spoil: replace(".git/info/exclude", linkTo("/etc/passwd"))},
		"a FIFO as excludes":     {spoil: replace(".git/info/exclude", fifo)},
		"broken record":          {spoil: write("../workspace.state/recorder/start", "nonsense")},
		"record's config broken": {spoil: write("../workspace.state/recorder/config", "[[[")},
		"inputs is a dead link":  {spoil: replace(InputsDirName, linkTo("/nonexistent"))},
		"inputs is a FIFO":       {spoil: replace(InputsDirName, fifo)},
		"a FIFO as rules":        {spoil: replace(".gitignore", fifo)},
		"a FIFO as index":        {spoil: replace(".git/index", fifo)},
		"a FIFO as repository":   {spoil: replace(".git", fifo)},
		"a FIFO as a branch":     {spoil: replace(".git/refs/heads/main", fifo)},
		"locks": {spoil: func(t *testing.T, root string) {
			for _, name := range []string{".git/index.lock", ".git/HEAD.lock", "../workspace.state/recorder/index.lock"} {
				write(name, "")(t, root)
			}
		}},
		"CLI folder is a file": {spoil: replace("../workspace.state/claude", func(path string) error { return os.WriteFile(path, nil, 0o644) })},
		"folders are locked": {spoil: func(t *testing.T, root string) {
			for _, dir := range []string{filepath.Join(stateOf(root), testAgent), stateOf(root), filepath.Join(root, ".git"), root} {
				require.NoError(t, os.Chmod(dir, 0))
			}
		}},
		"an impossible encoding": {spoil: write(".gitattributes", "* working-tree-encoding=UTF-16\n")},
		"programs": {spoil: func(t *testing.T, root string) {
			write(".gitattributes", "* filter=evil diff=evil\n")(t, root)
			config(`[core]
fsmonitor = touch `+pwned+`
hooksPath = hooks
[filter "evil"]
clean = touch `+pwned+` && false
process = touch `+pwned+` && false
required = true
[diff "evil"]
textconv = touch `+pwned+`
command = touch `+pwned+`
`)(t, root)
			for _, hook := range []string{"pre-commit", "post-index-change", "reference-transaction"} {
				write(".git/hooks/"+hook, "#!/bin/sh\ntouch "+pwned+"\n")(t, root)
				require.NoError(t, os.Chmod(filepath.Join(root, ".git/hooks", hook), 0o755))
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "workspace")
			require.NoError(t, os.Mkdir(root, 0o755))
			sh(t, root, "git init -q; git commit -q --allow-empty -m first")
			prepare(t, Options{Root: root, RunID: "r0"})
			write("kept.txt", "kept\n")(t, root)
			prepare(t, Options{Root: root, RunID: "r1"})
			c.spoil(t, root)

			w := prepare(t, Options{Root: root, RunID: "r2"})
			write("new.txt", "new\n")(t, root)
			got := changes(t, w)
			require.Contains(t, got, "new.txt")
			require.NotContains(t, got, "kept.txt")
			require.NoFileExists(t, pwned)
			for _, dir := range []string{w.AgentDir, stateOf(root), root} {
				info, err := os.Stat(dir)
				require.NoError(t, err)
				require.Equal(t, os.FileMode(0o700), info.Mode().Perm()&0o700, dir)
			}
		})
	}
}
