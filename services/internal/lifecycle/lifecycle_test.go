package lifecycle_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/poco-ai/poco/services/internal/lifecycle"
)

const waiterVariable = "POCO_TEST_LIFECYCLE_WAITER"

// TestMain is also the program that the tests of signals send them to.
func TestMain(m *testing.M) {
	if os.Getenv(waiterVariable) != "" {
		waitForSignals()
		return
	}
	goleak.VerifyTestMain(m)
}

// waitForSignals says when its context ends, and ends itself with its input.
func waitForSignals() {
	ctx, stop := lifecycle.SignalContext(context.Background())
	defer stop()
	told := context.AfterFunc(ctx, func() { fmt.Println("stopping") })
	fmt.Println("waiting")
	_, _ = io.Copy(io.Discard, os.Stdin)
	if told() {
		fmt.Println("not stopped")
		return
	}
	fmt.Println("stopped")
}

// waiter is a process that waits for signals.
type waiter struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.Closer
	out   io.Closer
	lines *bufio.Scanner
}

// startWaiter starts it, through another program where one is named.
func startWaiter(t *testing.T, through ...string) *waiter {
	t.Helper()
	program, err := os.Executable()
	require.NoError(t, err)
	args := slices.Concat(through, []string{program})
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Env = append(os.Environ(), waiterVariable+"=1")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	// What the tests were started to ignore, the process would ignore as well.
	received := make(chan os.Signal, 1)
	signal.Notify(received, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(received)
	require.NoError(t, cmd.Start())
	return &waiter{t: t, cmd: cmd, in: in, out: out, lines: bufio.NewScanner(out)}
}

func (w *waiter) line() string {
	w.t.Helper()
	require.True(w.t, w.lines.Scan(), "it has ended")
	return w.lines.Text()
}

// finish ends the process in good order.
func (w *waiter) finish() { require.NoError(w.t, w.in.Close()) }

func TestCloseInReverseOrder(t *testing.T) {
	var closers lifecycle.Closers
	var order []string
	broken := errors.New("broken")
	for _, name := range []string{"first", "second", "third"} {
		closers.Add(name, func(context.Context) error {
			order = append(order, name)
			if name == "second" {
				return broken
			}
			return nil
		})
	}
	err := closers.Close(t.Context())
	require.ErrorIs(t, err, broken)
	require.EqualError(t, err, "close second: broken")
	require.Equal(t, []string{"third", "second", "first"}, order)
	require.NoError(t, closers.Close(t.Context()), "the second call does nothing")
}

func TestOneThatHangsIsLeftBehind(t *testing.T) {
	var closers lifecycle.Closers
	release, closed := make(chan struct{}), false
	closers.Add("first", func(ctx context.Context) error {
		closed = ctx.Err() != nil // knows that it has no time
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	closers.Add("stuck", func(context.Context) error {
		cancel()
		<-release
		return nil
	})
	err := closers.Close(ctx)
	close(release)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "close stuck")
	require.True(t, closed)
}

func TestSignalContext(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(sig.String(), func(t *testing.T) {
			p := startWaiter(t)
			require.Equal(t, "waiting", p.line())
			require.NoError(t, p.cmd.Process.Signal(sig))
			require.Equal(t, "stopping", p.line())
			// A terminal that closes sends it once by its shell, and once by itself.
			require.NoError(t, p.cmd.Process.Signal(syscall.SIGHUP))
			p.finish()
			require.NoError(t, p.cmd.Wait())
		})
	}
}

func TestTheSecondSignalEndsAtOnce(t *testing.T) {
	p := startWaiter(t)
	require.Equal(t, "waiting", p.line())
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGHUP))
	require.Equal(t, "stopping", p.line())
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	require.ErrorContains(t, p.cmd.Wait(), "signal: terminated")
}

func TestAReaderThatIsGoneDoesNotBreakAStop(t *testing.T) {
	p := startWaiter(t)
	require.Equal(t, "waiting", p.line())
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGINT))
	require.Equal(t, "stopping", p.line())
	require.NoError(t, p.out.Close())
	p.finish()
	require.NoError(t, p.cmd.Wait(), "it says that it has stopped")
}

func TestWhatWasIgnoredAtTheStartStaysIgnored(t *testing.T) {
	p := startWaiter(t, "sh", "-c", `trap '' HUP; exec "$0"`) // as nohup does
	require.Equal(t, "waiting", p.line())
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGHUP))
	p.finish()
	require.Equal(t, "not stopped", p.line())
	require.NoError(t, p.cmd.Wait())
}

func TestVital(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	broken := errors.New("broken")
	require.EqualError(t, lifecycle.Vital(ctx, "the clock", func(context.Context) error { return nil }), "the clock ended by itself")
	require.ErrorIs(t, lifecycle.Vital(ctx, "the clock", func(context.Context) error { return broken }), broken)
	cancel()
	require.NoError(t, lifecycle.Vital(ctx, "the clock", func(ctx context.Context) error { return ctx.Err() }))
	require.ErrorIs(t, lifecycle.Vital(ctx, "the clock", func(context.Context) error { return broken }), broken, "it could not stop")
}
