package app_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/lifecycle"
	"github.com/poco-ai/poco/services/internal/testkit"
	"github.com/poco-ai/poco/services/manager/app"
)

// managerArgument makes this test program a manager of its own process, so
// that it can be killed and frozen.
const managerArgument = "real-manager"

const readyLine = "manager is ready"

// serveManager is that process's main.
func serveManager() error {
	cfg, err := app.LoadConfig(config.OSSources())
	if err != nil {
		return err
	}
	ctx, stop := lifecycle.SignalContext(context.Background())
	defer stop()
	return app.Run(ctx, cfg, app.Options{
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Ready: func(string) {
			_, _ = os.Stdout.WriteString(readyLine + "\n")
			_ = os.Stdout.Close()
		},
	})
}

// managerProcess starts a manager on a port, as a process.
func (s *stack) managerProcess(port int) *exec.Cmd {
	s.env["EXECUTOR_MANAGER_HOST"], s.env["EXECUTOR_MANAGER_PORT"] = "127.0.0.1", strconv.Itoa(port)
	s.env["CALLBACK_BASE_URL"] = "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	self, err := os.Executable()
	require.NoError(s.t, err)
	cmd := exec.Command(self, managerArgument)
	cmd.Env = slices.Concat(s.sources().Environ, []string{"PATH=" + os.Getenv("PATH")})
	cmd.Stderr = s.t.Output()
	out, err := cmd.StdoutPipe()
	require.NoError(s.t, err)
	require.NoError(s.t, cmd.Start())
	s.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGCONT)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		require.ErrorIs(s.t, err, io.EOF)
	}
	require.Equal(s.t, readyLine, strings.TrimSpace(line))
	return cmd
}

func TestTheManagerIsKilledMidRun(t *testing.T) {
	s := newStack(t)
	port := testkit.FreePort(t)
	first := s.managerProcess(port)
	session, run := s.enqueue(promptWait)
	s.await(session, begun)
	require.NoError(t, first.Process.Kill())
	_ = first.Wait() // killed

	second := s.managerProcess(port)
	s.awaitRun(session, run)
	s.await(session, exported)
	require.Len(t, s.notices(session), 1, "nothing lost, nothing doubled")
	require.NoError(t, second.Process.Signal(syscall.SIGTERM))
	require.NoError(t, second.Wait())
}

func TestTheManagerIsFrozenPastItsLease(t *testing.T) {
	s := newStack(t)
	s.env["TASK_CLAIM_LEASE_SECONDS"], s.env["MAX_CONCURRENT_TASKS"] = "4", "1"
	manager := s.managerProcess(testkit.FreePort(t))
	session, _ := s.enqueue(promptWait)
	s.await(session, begun)
	require.NoError(t, manager.Process.Signal(syscall.SIGSTOP))
	end := s.await(session, ended).GetRunStatusChanged()
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_FAILED, end.GetStatus())
	require.Equal(t, backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, end.GetReason())

	// Woken, it lets go of the run and its executor; only then is there a slot.
	require.NoError(t, manager.Process.Signal(syscall.SIGCONT))
	next, run := s.enqueue(promptWork)
	s.awaitRun(next, run)
	require.Len(t, s.notices(session), 1, "nothing of the lost run came through")
}

// notices returns the events of scripted executors.
func (s *stack) notices(sessionID string) []*backendv1.Notice {
	s.t.Helper()
	stream, err := s.sessions.WatchSession(s.t.Context(), &backendv1.WatchSessionRequest{SessionId: sessionID, StopWhenIdle: true})
	require.NoError(s.t, err)
	var notices []*backendv1.Notice
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return notices
		}
		require.NoError(s.t, err)
		if n := m.GetEvent().GetPayload().GetNotice(); n != nil {
			notices = append(notices, n)
		}
	}
}
