package workspace_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/poco-ai/poco/services/manager/internal/workspace"
)

// A full disk keeps no run from its workspace, in which the agent may clean up,
// and no old snapshot is taken for the workspace as it is.
func TestAFullDisk(t *testing.T) {
	root := t.TempDir()
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("needs to mount a file system: ", err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(root, unix.MNT_DETACH)) })
	s, err := workspace.Open(root, -1, -1, nil)
	require.NoError(t, err)
	session := uuid.NewString()
	folders, err := s.Prepare("default", session, uuid.NewString())
	require.NoError(t, err)
	require.NoError(t, s.Snapshotted("default", session, "k", true))
	filled, err := os.Create(filepath.Join(folders.Workspace, "filled"))
	require.NoError(t, err)
	_, err = io.Copy(filled, io.LimitReader(endless{}, 2<<20))
	require.ErrorIs(t, err, unix.ENOSPC)
	require.NoError(t, filled.Close())

	_, err = s.Prepare("default", session, uuid.NewString())
	require.NoError(t, err)
	require.Error(t, s.Retire("default", session, time.Now().Add(time.Hour), true))
	require.NoError(t, os.Remove(filled.Name()))
	_, err = s.Prepare("default", session, uuid.NewString())
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(s.SessionDir("default", session), "meta.json"))
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	return strings.NewReader(strings.Repeat("x", len(p))).Read(p)
}
