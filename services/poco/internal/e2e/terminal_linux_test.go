package e2e

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// openTerminal returns a terminal and the end at which a person sits.
func openTerminal(t *testing.T) (person, terminal *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	raw, err := person.SyscallConn()
	require.NoError(t, err)
	var name string
	require.NoError(t, raw.Control(func(fd uintptr) {
		require.NoError(t, unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0))
		number, err := unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		require.NoError(t, err)
		name = fmt.Sprintf("/dev/pts/%d", number)
	}))
	terminal, err = os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	return person, terminal
}

// TestAClosedTerminalStopsEverythingInOrder closes the terminal of "poco up", to
// which it then can say nothing more.
func TestAClosedTerminalStopsEverythingInOrder(t *testing.T) {
	p := newLocalPoco(t)
	person, terminal := openTerminal(t)
	p.prepare("up", "--scripted-model")
	shown := p.shows("Send work with:")
	seen := p.cmd.Stdout
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = terminal, terminal, terminal
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(seen, person) // until it is closed
	}()
	p.start(shown)
	require.NoError(t, terminal.Close())
	working := processesWith(t, p.dir)
	require.Greater(t, len(working), 2, "its servers are processes of their own")

	require.NoError(t, person.Close())
	<-read
	<-p.ended
	require.Zero(t, p.cmd.ProcessState.ExitCode(), "%s: %s", p.cmd.ProcessState, p.out)
	require.NoFileExists(t, filepath.Join(p.dir, "running.json"), "it has not stopped in order")
	for _, pid := range working {
		awaitGone(t, pid)
	}
}
