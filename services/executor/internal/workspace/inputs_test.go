package workspace

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
)

func file(path, content string) *executorv1.RunFile {
	return &executorv1.RunFile{Path: path, Content: []byte(content)}
}

func TestAddInputs(t *testing.T) {
	root := t.TempDir()
	w := &Workspace{opts: Options{Root: root}}
	require.NoError(t, w.AddInputs(nil))
	require.NoDirExists(t, filepath.Join(root, InputsDirName))

	script := file("bin/run.sh", "#!/bin/sh")
	script.Executable = true
	files := []*executorv1.RunFile{file("notes.txt", "one"), script, file("../../up.txt", "up")}
	require.NoError(t, w.AddInputs(files))
	require.NoError(t, os.Remove(filepath.Join(root, "inputs/notes.txt")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(root, "inputs/notes.txt"), 0o644))
	require.NoError(t, w.AddInputs(files), "a pipe holds nobody up")
	for name, want := range map[string]string{"inputs/notes.txt": "one", "inputs/bin/run.sh": "#!/bin/sh", "inputs/up.txt": "up"} {
		content, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		require.Equal(t, want, string(content))
	}
	info, err := os.Stat(filepath.Join(root, "inputs/bin/run.sh"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o755), info.Mode().Perm())

	require.ErrorContains(t, w.AddInputs([]*executorv1.RunFile{file("./", "x")}), "not the path of a file")
	require.FileExists(t, filepath.Join(root, "inputs/notes.txt"))

	outside := t.TempDir()
	require.NoError(t, os.RemoveAll(filepath.Join(root, InputsDirName)))
	require.NoError(t, os.Symlink(outside, filepath.Join(root, InputsDirName)))
	require.Error(t, w.AddInputs(files))
	left, err := os.ReadDir(outside)
	require.NoError(t, err)
	require.Empty(t, left, "nothing is written outside of the workspace")
}
