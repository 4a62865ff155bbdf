package e2e

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// awaitGone waits, without polling, for a process that is no child of this one.
func awaitGone(t testing.TB, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return
	}
	require.NoError(t, err)
	defer unix.Close(fd)
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(awaitTimeout/time.Millisecond)) //nolint:gosec // a file descriptor fits
		if errors.Is(err, unix.EINTR) {
			continue
		}
		require.NoError(t, err)
		require.Positive(t, n, "process %d is still there", pid)
		return
	}
}
