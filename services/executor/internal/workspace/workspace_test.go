package workspace

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	file := filepath.Join(dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte(content), 0o644))
}

// prepare prepares a workspace with its state beside it.
const testAgent = "an-agent"

func prepare(t *testing.T, opts Options) *Workspace {
	t.Helper()
	opts.State, opts.Agent = stateOf(opts.Root), testAgent
	w, err := Prepare(t.Context(), opts)
	require.NoError(t, err)
	return w
}

func stateOf(root string) string { return root + ".state" }

func changes(t *testing.T, w *Workspace) map[string]*backendv1.FileChange {
	t.Helper()
	c, _, err := w.Changes(t.Context())
	require.NoError(t, err)
	byPath := map[string]*backendv1.FileChange{}
	for _, f := range c.GetFiles() {
		byPath[f.GetPath()] = f
	}
	return byPath
}

const (
	added    = backendv1.FileChangeStatus_FILE_CHANGE_STATUS_ADDED
	modified = backendv1.FileChangeStatus_FILE_CHANGE_STATUS_MODIFIED
	deleted  = backendv1.FileChangeStatus_FILE_CHANGE_STATUS_DELETED
	renamed  = backendv1.FileChangeStatus_FILE_CHANGE_STATUS_RENAMED
)

var letter = map[backendv1.FileChangeStatus]string{added: "A", modified: "M", deleted: "D", renamed: "R"}

func TestChangesOfEveryKind(t *testing.T) {
	root := t.TempDir()
	write(t, root, "edit.txt", "one\ntwo\nthree\n")
	write(t, root, "gone.txt", "bye\n")
	write(t, root, "old name.txt", strings.Repeat("a line that stays\n", 20))
	write(t, root, "kind", "a file\n")
	w := prepare(t, Options{Root: root, RunID: "r1"})
	require.Empty(t, changes(t, w))

	write(t, root, "edit.txt", "one\n2\nthree\nfour\n")
	require.NoError(t, os.Remove(filepath.Join(root, "gone.txt")))
	require.NoError(t, os.Rename(filepath.Join(root, "old name.txt"), filepath.Join(root, "new ü.txt")))
	write(t, root, "sub/new.txt", "diff --git a/x b/x\n")
	write(t, root, "data.bin", "\x00\x01\x02")
	write(t, root, "node_modules/x.js", "ignored")
	write(t, root, "inputs/x.txt", "ignored")
	require.NoError(t, os.Remove(filepath.Join(root, "kind")))
	require.NoError(t, os.Symlink("edit.txt", filepath.Join(root, "kind")))

	got := changes(t, w)
	require.Len(t, got, 6)
	check := func(name string, status backendv1.FileChangeStatus, additions, deletions int64) *backendv1.FileChange {
		f := got[name]
		require.NotNil(t, f, name)
		require.Equal(t, status, f.GetStatus(), name)
		require.Equal(t, additions, f.GetAdditions(), name)
		require.Equal(t, deletions, f.GetDeletions(), name)
		return f
	}
	require.Contains(t, check("edit.txt", modified, 2, 1).GetDiff(), "-two\n+2\n")
	require.Contains(t, check("gone.txt", deleted, 0, 1).GetDiff(), "-bye\n")
	require.Contains(t, check("sub/new.txt", added, 1, 0).GetDiff(), "+diff --git a/x b/x\n")
	require.Equal(t, "old name.txt", check("new ü.txt", renamed, 0, 0).GetOldPath())
	require.True(t, check("data.bin", added, 0, 0).GetBinary())
	require.Empty(t, got["data.bin"].GetDiff())
	require.Contains(t, check("kind", modified, 1, 1).GetDiff(), "new file mode 120000")
	require.NotContains(t, got["new ü.txt"].GetDiff(), "kind")
}

func TestNextRunStartsClean(t *testing.T) {
	root := t.TempDir()
	w := prepare(t, Options{Root: root, RunID: "r1"})
	write(t, root, "a.txt", "a\n")
	require.Contains(t, changes(t, w), "a.txt")
	require.Empty(t, changes(t, prepare(t, Options{Root: root, RunID: "r2"})))

	// The same run again, after its executor was lost: changes still count
	// from its first start.
	write(t, root, "b.txt", "b\n")
	require.Contains(t, changes(t, prepare(t, Options{Root: root, RunID: "r2"})), "b.txt")
}

func TestClone(t *testing.T) {
	origin := filepath.Join(t.TempDir(), "project")
	sh(t, origin, `git init -q -b trunk; echo hello >readme.txt; git add .; git commit -qm first`)

	root := t.TempDir()
	write(t, root, "inputs/data.txt", "in\n")
	opts := Options{Root: root, RunID: "r1", RepoURL: served(t, filepath.Dir(origin)) + "/project", Branch: "nosuch"}
	w := prepare(t, opts)
	require.Equal(t, filepath.Join(root, "project"), w.Dir)
	require.FileExists(t, filepath.Join(w.Dir, "readme.txt"))
	require.Len(t, w.Notices, 1)
	require.Contains(t, w.Notices[0], "nosuch")
	require.FileExists(t, filepath.Join(w.Dir, w.InputsDir(), "data.txt"))
	c, _, err := w.Changes(t.Context())
	require.NoError(t, err)
	require.Empty(t, c.GetFiles())
	require.Equal(t, "trunk", c.GetBranch())

	write(t, w.Dir, "readme.txt", "changed\n")
	opts.RunID = "r2"
	require.FileExists(t, filepath.Join(prepare(t, opts).Dir, "readme.txt"), "an existing clone is kept")

	_, err = Prepare(t.Context(), Options{Root: t.TempDir(), State: t.TempDir(), RunID: "r", RepoURL: "https://user:secret@127.0.0.1:1/nosuch.git"})
	require.ErrorContains(t, err, "cannot be cloned")
	require.NotContains(t, err.Error(), "secret")
	_, err = Prepare(t.Context(), Options{Root: t.TempDir(), State: t.TempDir(), RunID: "r", RepoURL: "file://" + origin})
	require.ErrorContains(t, err, "config.repo_url: is a folder of some machine")
}

// Input files are no new files of the person's repository.
func TestInputsDoNotShowInGit(t *testing.T) {
	root := t.TempDir()
	sh(t, root, `git init -q; echo a >a; git add a; git commit -qm a`)
	write(t, root, "inputs/deep/data.txt", "in\n")
	w := prepare(t, Options{Root: root, RunID: "r1"})
	require.Empty(t, sh(t, root, `git status --porcelain`))
	require.Empty(t, changes(t, w))
	require.Equal(t, "inputs", w.InputsDir())
}

func TestNotWritable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	_, err := Prepare(t.Context(), Options{Root: file, State: t.TempDir(), RunID: "r"})
	require.ErrorContains(t, err, "is not writable for user")
}

func TestSaveToolResultStaysInside(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	state := stateOf(root)
	w := prepare(t, Options{Root: root, RunID: "r1"})
	name, err := w.SaveToolResult("toolu_1", "all of it")
	require.NoError(t, err)
	require.Equal(t, "tool_results/r1/toolu_1.txt", name)
	content, err := os.ReadFile(filepath.Join(state, name))
	require.NoError(t, err)
	require.Equal(t, "all of it", string(content))

	name, err = w.SaveToolResult("../../../evil", "x")
	require.NoError(t, err)
	require.NotContains(t, name, "..")

	require.NoError(t, syscall.Mkfifo(filepath.Join(state, "tool_results/r1/toolu_2.txt"), 0o644))
	name, err = w.SaveToolResult("toolu_2", "not stuck in a FIFO")
	require.NoError(t, err)
	content, err = os.ReadFile(filepath.Join(state, name))
	require.NoError(t, err)
	require.Equal(t, "not stuck in a FIFO", string(content))

	require.NoError(t, os.RemoveAll(filepath.Join(state, "tool_results")))
	require.NoError(t, os.Symlink(outside, filepath.Join(state, "tool_results")))
	_, err = w.SaveToolResult("toolu_1", "x")
	require.Error(t, err)
	entries, err := os.ReadDir(outside)
	require.NoError(t, err)
	require.Empty(t, entries)
}
