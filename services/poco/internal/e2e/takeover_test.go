package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

// A manager is gone for good, with its disk. Another one goes on with the
// session: the same conversation in the real CLI, the same files.
func TestAnotherManagerTakesASessionOver(t *testing.T) {
	for _, runtime := range []string{processRuntime, dockerRuntime} {
		t.Run(runtime, func(t *testing.T) {
			s := newStack(t, stackOptions{runtime: runtime, env: map[string]string{"WORKER_GONE_SECONDS": "2", "TASK_CLAIM_LEASE_SECONDS": "3"}}).start()
			session, first := s.enqueue("Remember the pears. [[bash:mkdir -p sub && echo pears > sub/file.txt && ln -s sub/file.txt link && ln -s /etc/passwd out && git init -q r]]", "")
			f := s.follow(session)
			requireCompleted(t, f, first)
			require.Equal(t, backendv1.ExportStatus_EXPORT_STATUS_READY, f.awaitExport(0).GetStatus())
			s.manager.kill()
			require.NoError(t, os.RemoveAll(s.manager.env["WORKSPACE_ROOT"]))

			other := s.newManager()
			other.start()
			_, second := s.enqueue("What did I say? [[memory]]", session)
			requireCompleted(t, f, second)
			f.awaitText("This is prompt number 2.")
			f.awaitText("Remember the pears.")
			f.await("the notice", func(e *backendv1.SessionEvent) bool {
				return e.GetRunId() == second && e.GetPayload().GetNotice().GetCode() == "workspace_restored"
			})

			dir := s.workspace(other, session)
			content, err := os.ReadFile(filepath.Join(dir, "link"))
			require.NoError(t, err)
			require.Equal(t, "pears\n", string(content))
			out, err := os.Lstat(filepath.Join(dir, "out"))
			require.NoError(t, err)
			require.NotZero(t, out.Mode()&os.ModeSymlink, "a link that leads out stays one: a snapshot is complete")
			require.DirExists(t, filepath.Join(dir, "r/.git/refs"))

			// The agent sees them, too, and may write where it could before.
			_, third := s.enqueue("Go on. [[bash:cat sub/file.txt && echo more >> sub/file.txt && git -C r status --short]]", session)
			requireCompleted(t, f, third)
			f.awaitText("The command printed: pears")
			f.requireExactlyOnce()
		})
	}
}

func requireCompleted(t *testing.T, f *follower, run string) {
	t.Helper()
	end := f.awaitEnd(run)
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, end.GetStatus(), "%s: %s", end.GetReason(), end.GetMessage())
}

// A session whose manager died with the only copy says so, and goes on when
// that manager comes back.
func TestATakeoverWithoutASnapshotSaysSo(t *testing.T) {
	s := newStack(t, stackOptions{env: map[string]string{"WORKER_GONE_SECONDS": "2", "TASK_CLAIM_LEASE_SECONDS": "3"}}).start()
	session, first := s.enqueue("Remember the pears. [[sleep:60]]", "")
	f := s.follow(session)
	f.awaitTool("Bash")
	s.manager.kill()
	end := f.awaitEnd(first)
	require.Equal(t, backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, end.GetReason())

	other := s.newManager()
	other.start()
	_, second := s.enqueue("What did I say? [[memory]]", session)
	end = f.awaitEnd(second)
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_FAILED, end.GetStatus())
	require.Equal(t, backendv1.RunReason_RUN_REASON_WORKSPACE_ERROR, end.GetReason())
	require.Contains(t, end.GetMessage(), "Start that manager again, or begin a new session.")
	other.stop()

	s.manager.start()
	_, third := s.enqueue("What did I say? [[memory]]", session)
	requireCompleted(t, f, third)
	f.awaitText("Remember the pears.")
}

// An old workspace is removed from the disk, and the session goes on from its
// archive.
func TestARemovedWorkspaceComesBack(t *testing.T) {
	s := newStack(t, stackOptions{})
	// A second, a fifth of a second.
	s.manager.env["WORKSPACE_CLEANUP_ENABLED"] = "true"
	s.manager.env["WORKSPACE_MAX_AGE_HOURS"], s.manager.env["WORKSPACE_CLEANUP_INTERVAL_HOURS"] = "0.00027778", "0.00005556"
	s.start()
	session, first := s.enqueue("Remember the pears. [[bash:echo pears > file.txt]]", "")
	f := s.follow(session)
	requireCompleted(t, f, first)
	require.Eventually(t, func() bool {
		_, err := os.Stat(s.workspace(s.manager, session))
		return os.IsNotExist(err)
	}, awaitTimeout, 50*time.Millisecond)

	_, second := s.enqueue("What did I say? [[memory]]", session)
	requireCompleted(t, f, second)
	f.awaitText("This is prompt number 2.")
	_, third := s.enqueue("And? [[bash:cat file.txt]]", session)
	requireCompleted(t, f, third)
	f.awaitText("The command printed: pears")
}
