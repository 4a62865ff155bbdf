package recorder

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// smallDisk puts the whole fixture on a small file system of its own.
func smallDisk(t *testing.T) *fixture {
	t.Helper()
	base := t.TempDir()
	if err := unix.Mount("tmpfs", base, "tmpfs", 0, "size=2m"); err != nil {
		t.Skip("needs to mount a file system: ", err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(base, unix.MNT_DETACH)) })
	f := &fixture{t: t, root: filepath.Join(base, "workspace"), dir: filepath.Join(base, "recorder")}
	require.NoError(t, os.Mkdir(f.root, 0o755))
	return f
}

// fill fills the disk with one file.
func (f *fixture) fill(name string) {
	f.t.Helper()
	file, err := os.Create(filepath.Join(f.root, name))
	require.NoError(f.t, err)
	_, err = io.Copy(file, zeros{})
	require.ErrorIs(f.t, err, unix.ENOSPC)
	require.NoError(f.t, file.Close())
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// A run that fills the disk still says what it changed; the next one begins with
// a full disk, cleans up, and says so.
func TestAFullDisk(t *testing.T) {
	f := smallDisk(t)
	f.write("a.txt", "a\n")
	f.begin("r1")
	f.write("b.txt", "b\n")
	f.fill("zeros")
	changed, problems := f.changed()
	require.NotEmpty(t, problems)
	require.Len(t, changed.GetFiles(), 2)
	require.Equal(t, "b.txt", changed.GetFiles()[0].GetPath())
	require.Equal(t, "zeros", changed.GetFiles()[1].GetPath())

	f.Recorder = New(Options{Root: f.root, Dir: f.dir})
	problems, err := f.Begin(t.Context(), "r2")
	require.NoError(t, err)
	require.NotEmpty(t, problems)
	require.Contains(t, problems[len(problems)-1].Reason, "no space left")
	require.NoError(t, os.Remove(filepath.Join(f.root, "zeros")))
	f.write("c.txt", "c\n")
	changed, problems = f.changed()
	require.Empty(t, problems)
	require.Len(t, changed.GetFiles(), 2)
	require.Contains(t, changed.GetFiles()[0].GetDiff(), "+c\n")
	require.Equal(t, deleted, changed.GetFiles()[1].GetStatus())

	f.begin("r3")
	f.write("a.txt", "changed\n")
	require.Contains(t, f.only().GetDiff(), "-a\n+changed\n")
}
