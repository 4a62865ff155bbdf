package testkit

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	// nobody is a user that owns nothing.
	nobody = 65534
	// unprivilegedVariable marks a test process that has been started again.
	unprivilegedVariable = "POCO_TEST_UNPRIVILEGED"
)

// Unprivileged tells whether the test goes on here, as a user for whom file
// permissions hold. Root may read everything: then the test has been run in a
// process of another user, and there is nothing left to do.
func Unprivileged(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		return true
	}
	require.Empty(t, os.Getenv(unprivilegedVariable))
	temp, err := os.MkdirTemp("", "poco-unprivileged-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(temp)) })
	require.NoError(t, os.Chown(temp, nobody, nobody))
	// Its own path may lie in folders of root's.
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir = temp
	cmd.Env = append(os.Environ(), unprivilegedVariable+"=1", "TMPDIR="+temp, "HOME="+temp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: "+t.Name())
	return false
}
