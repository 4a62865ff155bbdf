package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// staleTimeout bounds the wait for servers that a killed poco left behind.
	// They end by themselves as soon as it is gone; Postgres first writes what
	// it has in memory.
	staleTimeout = 30 * time.Second
	stalePoll    = 20 * time.Millisecond
)

// awaitStalePostgres ends a Postgres that is still running on a data folder
// whose poco was killed, and returns when the folder is free.
func awaitStalePostgres(ctx context.Context, dataDir string, progress func(string)) error {
	pid, running := postmaster(dataDir)
	if !running {
		return nil
	}
	progress(fmt.Sprintf("stopping the Postgres of an earlier start (process %d)", pid))
	// SIGINT is Postgres's fast shutdown. Already on its way: no difference.
	if err := syscall.Kill(pid, syscall.SIGINT); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop the Postgres of an earlier start (process %d): %w", pid, err)
	}
	err := await(ctx, func() bool { _, running := postmaster(dataDir); return !running })
	if err != nil {
		return fmt.Errorf("the Postgres of an earlier start (process %d) does not end: %w", pid, err)
	}
	return nil
}

// postmaster returns the server that uses a data folder. A pid file without its
// process, or whose number is another program's by now, does not count.
func postmaster(dataDir string) (int, bool) {
	text, err := os.ReadFile(dataDir + "/postmaster.pid")
	if err != nil {
		return 0, false
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || pid <= 1 || errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return 0, false
	}
	// Where the system tells, the command line names the folder.
	if command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && !bytes.Contains(command, []byte(dataDir)) {
		return 0, false
	}
	return pid, true
}

// awaitFreePort waits until a server that is ending has let its port go. The
// port stays taken when it is somebody else's: that is told by its next user.
func awaitFreePort(ctx context.Context, host string, port int) {
	if port == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_ = await(ctx, func() bool { // not free: told later, with what to do
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		return err == nil && listener.Close() == nil
	})
}

// await asks until the answer is yes.
func await(ctx context.Context, done func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, staleTimeout)
	defer cancel()
	ticker := time.NewTicker(stalePoll)
	defer ticker.Stop()
	for !done() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
