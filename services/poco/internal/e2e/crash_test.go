package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/db/dbtest"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/embedded"
	"github.com/poco-ai/poco/services/internal/testkit"
)

// waitForFile is a prompt whose command waits until a file is in the workspace,
// so that a test has a run in the middle of its work for as long as it wants.
const waitForFile = "Wait, please. [[waitfile:go]]"

// midRun enqueues such a prompt and returns when its command is running.
func (s *stack) midRun() (f *follower, session, run string) {
	s.t.Helper()
	session, run = s.enqueue(waitForFile, "")
	f = s.follow(session)
	f.awaitTool("Bash")
	return f, session, run
}

// letGo ends the wait of a mid-run session.
func (s *stack) letGo(session string) {
	s.t.Helper()
	require.NoError(s.t, os.WriteFile(filepath.Join(s.workspace(s.manager, session), "go"), nil, 0o644)) //nolint:gosec // the agent reads it
}

// requireGoneOn checks that the run ended well with nothing lost or doubled.
func (s *stack) requireGoneOn(f *follower, run string) {
	s.t.Helper()
	end := f.awaitEnd(run)
	require.Equal(s.t, backendv1.RunStatus_RUN_STATUS_COMPLETED, end.GetStatus(), end.GetMessage())
	f.awaitText("The file is there.")
	export := f.awaitExport(0)
	require.Equal(s.t, backendv1.ExportStatus_EXPORT_STATUS_READY, export.GetStatus(), export.GetReason())
	f.requireExactlyOnce()
	require.EqualValues(s.t, 1, s.run(run).GetAttempt(), "the prompt was submitted once")
}

func TestManagerKilledMidRun(t *testing.T) {
	for _, runtime := range []string{processRuntime, dockerRuntime} {
		t.Run(runtime, func(t *testing.T) {
			s := newStack(t, stackOptions{runtime: runtime}).start()
			f, session, run := s.midRun()
			s.manager.kill()
			s.letGo(session)
			s.manager.start()
			s.requireGoneOn(f, run)
		})
	}
}

func TestBackendKilledMidRun(t *testing.T) {
	s := newStack(t, stackOptions{}).start()
	f, session, run := s.midRun()
	s.backend.kill()
	s.letGo(session)
	s.backend.start()
	s.requireGoneOn(f, run)
}

// awaitHeld waits until the processes are stopped where they are.
func awaitHeld(t *testing.T, pids []int) {
	t.Helper()
	require.NotEmpty(t, pids)
	for _, pid := range pids {
		require.Eventually(t, func() bool {
			status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
			require.NoError(t, err, "it has ended")
			return strings.Contains(string(status), "State:\tT")
		}, awaitTimeout, 20*time.Millisecond, "process %d goes on without a lease", pid)
	}
}

// The backend, or its database, is away for longer than the lease: the agents
// are held, so that no run is executed twice, and go on when it is back.
func TestBackendAwayForLongerThanTheLease(t *testing.T) {
	const runs = 4
	for name, take := range map[string]func(t *testing.T, s *stack) (bringBack func()){
		"killed": func(_ *testing.T, s *stack) func() { s.backend.kill(); return s.backend.start },
		"frozen": func(_ *testing.T, s *stack) func() { s.backend.freeze(); return s.backend.wake },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStack(t, stackOptions{env: map[string]string{"TASK_CLAIM_LEASE_SECONDS": "6"}}).start()
			type work struct {
				f            *follower
				session, run string
			}
			var all []work
			var agents []int
			for range runs {
				f, session, run := s.midRun()
				all = append(all, work{f, session, run})
				agents = append(agents, s.agentProcesses(session)...)
			}
			bringBack := take(t, s)
			awaitHeld(t, agents)
			for _, w := range all {
				s.letGo(w.session)
			}
			bringBack()
			for _, w := range all {
				s.requireGoneOn(w.f, w.run)
			}
		})
	}
}

func TestPostgresAwayForLongerThanTheLease(t *testing.T) {
	server, opts := testkit.OwnPostgres(t)
	s := newStack(t, stackOptions{databaseURL: dbtest.Empty(t, server.URL()), env: map[string]string{"TASK_CLAIM_LEASE_SECONDS": "6"}}).start()
	f, session, run := s.midRun()
	agents := s.agentProcesses(session)
	require.NoError(t, server.Crash())
	awaitHeld(t, agents)
	s.letGo(session)
	again, err := embedded.StartPostgres(t.Context(), opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, again.Stop(context.Background())) })
	s.requireGoneOn(f, run)
	s.backend.stop()
	s.manager.stop()
}

func TestEverythingKilledMidRun(t *testing.T) {
	s := newStack(t, stackOptions{}).start()
	f, session, run := s.midRun()
	s.manager.kill()
	s.backend.kill()
	s.letGo(session)
	s.backend.start()
	s.manager.start()
	s.requireGoneOn(f, run)
}

func TestPostgresRestartedMidRun(t *testing.T) {
	server, opts := testkit.OwnPostgres(t)
	s := newStack(t, stackOptions{databaseURL: dbtest.Empty(t, server.URL())}).start()
	f, session, run := s.midRun()
	require.NoError(t, server.Crash())
	s.letGo(session)
	again, err := embedded.StartPostgres(t.Context(), opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, again.Stop(context.Background())) })
	s.requireGoneOn(f, run)
	s.backend.stop()
	s.manager.stop()
}

// A manager that is stopped in good order leaves its executors to the next one.
func TestManagerRestartedMidRun(t *testing.T) {
	s := newStack(t, stackOptions{}).start()
	f, session, run := s.midRun()
	s.manager.stop()
	s.letGo(session)
	s.manager.start()
	s.requireGoneOn(f, run)
}

// The same while the model thinks: the call that the manager drops is made
// again, and not taken for a refused credential.
func TestManagerRestartedWhileTheModelThinks(t *testing.T) {
	s := newStack(t, stackOptions{}).start()
	session, run := s.enqueue("Think. [[gate:thinking]]", "")
	f := s.follow(session)
	<-s.model.Arrived("thinking")
	s.manager.stop()
	s.model.Release("thinking")
	s.manager.start()
	f.awaitText("Behind the gate.")
	end := f.awaitEnd(run)
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, end.GetStatus(), end.GetMessage())
	f.requireExactlyOnce()
	require.EqualValues(t, 1, s.run(run).GetAttempt())
}

// A frozen manager never hears that its lease is gone. Its executor stops by
// its own clock, and what the woken manager still has changes no end.
func TestManagerFrozenPastItsLease(t *testing.T) {
	s := newStack(t, stackOptions{env: map[string]string{"TASK_CLAIM_LEASE_SECONDS": "3", "MAX_CONCURRENT_TASKS": "1"}}).start()
	f, session, run := s.midRun()
	cli := s.agentProcesses(session)
	require.NotEmpty(t, cli)
	s.manager.freeze()
	for _, pid := range cli {
		awaitGone(t, pid)
	}
	end := f.awaitEnd(run)
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_FAILED, end.GetStatus())
	require.Equal(t, backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, end.GetReason())

	s.manager.wake()
	s.letGo(session)
	// It frees its only slot, so it can run something else.
	next, second := s.enqueue("Hello. [[bash]]", "")
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, s.follow(next).awaitEnd(second).GetStatus())
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_FAILED, s.run(run).GetStatus())
	// What its executor had not delivered makes the record longer, and nothing else.
	ends := 0
	for _, e := range f.all() {
		if change := e.GetPayload().GetRunStatusChanged(); e.GetRunId() == run && change != nil && change.GetStatus() >= backendv1.RunStatus_RUN_STATUS_COMPLETED {
			ends++
		}
	}
	require.Equal(t, 1, ends, "the run has one end")
}

// agentProcesses are the processes that work in a session's workspace for the
// agent: the CLI and its commands.
func (s *stack) agentProcesses(sessionID string) []int {
	s.t.Helper()
	return processesWith(s.t, "CLAUDE_CONFIG_DIR="+filepath.Join(filepath.Dir(s.workspace(s.manager, sessionID)), "state", "claude"))
}

// An executor that is gone ends its run within seconds, with a reason.
func TestExecutorKilledMidRun(t *testing.T) {
	s := newStack(t, stackOptions{}).start()
	f, session, run := s.midRun()
	cli := s.agentProcesses(session)
	executors := processesWith(t, "WORKSPACE_PATH="+s.workspace(s.manager, session))
	require.NotEmpty(t, executors)
	for _, pid := range executors {
		process, err := os.FindProcess(pid)
		require.NoError(t, err)
		require.NoError(t, process.Kill())
	}
	end := f.awaitEnd(run)
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_FAILED, end.GetStatus())
	require.Equal(t, backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, end.GetReason())
	require.NotEmpty(t, end.GetMessage())
	for _, pid := range cli {
		awaitGone(t, pid)
	}
	// What the agent did is still exported, and the session goes on.
	export := f.awaitExport(0)
	require.Equal(t, backendv1.ExportStatus_EXPORT_STATUS_READY, export.GetStatus(), export.GetReason())
	_, second := s.enqueue("Go on. [[bash]]", session)
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, f.awaitEnd(second).GetStatus())
}
