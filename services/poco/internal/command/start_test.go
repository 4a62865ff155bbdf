package command_test

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/config"
	test "github.com/poco-ai/poco/services/poco/internal/backendtest"
	"github.com/poco-ai/poco/services/poco/internal/command"
)

// leaving is a "poco run" whose prompt is on its way.
type leaving struct {
	t       *testing.T
	backend *test.Backend
	goOn    chan struct{}
	says    *bufio.Reader
	ended   chan int
	stdout  bytes.Buffer
}

func leave(t *testing.T, connections ...test.Connection) *leaving {
	t.Helper()
	arrived := make(chan chan struct{}, 1)
	l := &leaving{t: t, backend: test.New(t, connections...), ended: make(chan int, 1)}
	l.backend.Enqueueing = arrived
	read, write := io.Pipe()
	l.says = bufio.NewReader(read)
	go func() {
		code := command.Main(config.Sources{Environ: []string{"POCO_URL=" + l.backend.URL}}, []string{"run", "go"}, strings.NewReader(""), &l.stdout, write)
		_ = write.Close()
		l.ended <- code
	}()
	l.goOn = <-arrived
	return l
}

// signal sends a signal to the command, which takes it as it has asked for it.
func (l *leaving) signal(signal syscall.Signal) {
	l.t.Helper()
	require.NoError(l.t, syscall.Kill(os.Getpid(), signal))
}

func (l *leaving) waiting() {
	l.t.Helper()
	line, err := l.says.ReadString('\n')
	require.NoError(l.t, err)
	require.Contains(l.t, line, "waiting for the backend")
}

// rest is what is said until the end, and the exit code.
func (l *leaving) rest() (string, int) {
	l.t.Helper()
	text, err := io.ReadAll(l.says)
	require.NoError(l.t, err)
	return string(text) + l.stdout.String(), <-l.ended
}

// Anyone who is sent away while the prompt is on its way hears whether there is a
// run, and how to come back.
func TestASignalWhileThePromptIsSent(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP} {
		l := leave(t, test.Connection{Until: t.Context().Done()})
		l.signal(signal)
		l.waiting()
		close(l.goOn)
		says, code := l.rest()
		require.Equal(t, 5, code, says)
		require.Contains(t, says, "poco attach "+test.SessionID)
	}
}

func TestCtrlCWhileThePromptIsSentCancelsTheRun(t *testing.T) {
	end := make(chan struct{})
	l := leave(t,
		test.Connection{Messages: []*backendv1.WatchSessionResponse{test.CaughtUp()}, Until: end, Err: io.ErrUnexpectedEOF},
		ending(backendv1.RunStatus_RUN_STATUS_CANCELED))
	l.signal(syscall.SIGINT)
	l.waiting()
	close(l.goOn)
	require.Equal(t, test.RunID, <-l.backend.Canceled)
	close(end)
	says, code := l.rest()
	require.Equal(t, 3, code, says)
}

func TestASecondSignalWhileThePromptIsSentLeaves(t *testing.T) {
	l := leave(t)
	l.signal(syscall.SIGINT)
	l.waiting()
	l.signal(syscall.SIGINT)
	says, code := l.rest()
	require.Equal(t, 5, code, says)
	require.Contains(t, says, "may have been started")
	require.Regexp(t, `--request-id [0-9a-f-]{36}\n`, says)
}

func TestARequestHasTheNameThatItIsGiven(t *testing.T) {
	backend := test.New(t, ending(backendv1.RunStatus_RUN_STATUS_COMPLETED))
	code, _, stderr := poco(t, backend.URL, "", "run", "--request-id", "nightly-1", "go")
	require.Zero(t, code, stderr)
	require.Equal(t, "nightly-1", backend.Enqueued(t).GetClientRequestId())
}

// noRoom takes nothing.
type noRoom struct{}

func (noRoom) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestARunIsNotStartedUnheard(t *testing.T) {
	for _, args := range [][]string{{"run", "go"}, {"run", "--detach", "go"}, {"run", "--detach", "--json", "go"}} {
		backend := test.New(t, test.Connection{Until: t.Context().Done()})
		var stderr bytes.Buffer
		code := command.Main(config.Sources{Environ: []string{"POCO_URL=" + backend.URL}}, args, strings.NewReader(""), noRoom{}, &stderr)
		require.Equal(t, 5, code, args)
		require.Contains(t, stderr.String(), "poco attach "+test.SessionID, args)
	}
}
