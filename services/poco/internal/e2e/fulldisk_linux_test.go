package e2e

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

// A session that filled its manager's disk cleans up with its next prompt.
func TestAFullDiskIsCleanedUp(t *testing.T) {
	s := newStack(t, stackOptions{})
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=24m"); err != nil {
		t.Skip("needs to mount a file system: ", err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(disk, unix.MNT_DETACH)) })
	s.manager.env["WORKSPACE_ROOT"] = filepath.Join(disk, "workspaces")
	s.start()
	session, run := s.enqueue("[[bash:head -c 60000000 /dev/zero >filled; echo full]]", "")
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, s.follow(session).awaitEnd(run).GetStatus())

	_, run = s.enqueue("[[bash:rm filled && echo cleaned >cleaned.txt]]", session)
	f := s.follow(session)
	end := f.awaitEnd(run)
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, end.GetStatus(), end.GetMessage())
	require.NoFileExists(t, filepath.Join(s.workspace(s.manager, session), "filled"))
	f.await("what was cleaned up", func(e *backendv1.SessionEvent) bool {
		files := e.GetPayload().GetFilesChanged().GetFiles()
		return e.GetRunId() == run && len(files) == 2
	})
	s.manager.stop()
	s.backend.stop()
}
