package unlock_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/testkit"
	"github.com/poco-ai/poco/services/internal/unlock"
)

func TestFolders(t *testing.T) {
	if !testkit.Unprivileged(t) {
		return
	}
	outside, dir := t.TempDir(), filepath.Join(t.TempDir(), "dir")
	deep := filepath.Join(dir, "a", "not \xff UTF-8", strings.Repeat("d/", 100)+"end")
	require.NoError(t, os.MkdirAll(deep, 0o750))
	file := filepath.Join(dir, "a", "file")
	require.NoError(t, os.WriteFile(file, nil, 0))
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "a", "link")))
	shared := filepath.Join(dir, "shared")
	require.NoError(t, os.Mkdir(shared, 0o700))
	require.NoError(t, os.Chmod(shared, 0o050|fs.ModeSetgid|fs.ModeSticky))
	require.NoError(t, os.Chmod(outside, 0o500))
	for folder := deep; strings.HasPrefix(folder, dir); folder = filepath.Dir(folder) {
		require.NoError(t, os.Chmod(folder, 0))
	}

	require.NoError(t, unlock.Folders(dir))
	mode := func(name string) fs.FileMode {
		info, err := os.Stat(name)
		require.NoError(t, err)
		return info.Mode()
	}
	require.Equal(t, fs.ModeDir|0o700, mode(deep))
	require.Equal(t, fs.ModeDir|fs.ModeSetgid|fs.ModeSticky|0o750, mode(shared))
	require.Zero(t, mode(file))
	require.Equal(t, fs.ModeDir|0o500, mode(outside))

	require.ErrorIs(t, unlock.Folders(filepath.Join(dir, "none")), fs.ErrNotExist)
	require.ErrorContains(t, unlock.Folders(filepath.Join(dir, "a", "link")), "not a directory")
}

// What belongs to others is theirs, also when root could open it.
func TestFoldersOfOthers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, who gives files away")
	}
	dir := t.TempDir()
	inside := filepath.Join(dir, "theirs")
	require.NoError(t, os.Mkdir(inside, 0))
	require.NoError(t, os.Chown(inside, 1000, 1000))
	require.NoError(t, unlock.Folders(dir))
	info, err := os.Stat(inside)
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm())
}
