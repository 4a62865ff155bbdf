package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/dockerengine"
	"github.com/poco-ai/poco/services/internal/scriptedmodel"
)

// steps is a scenario of three commands, each of which notes that it was
// executed. The second one waits for a file.
func steps() scriptedmodel.Scenario {
	step := func(command string) scriptedmodel.Turn {
		return scriptedmodel.Turn{Blocks: []scriptedmodel.Block{{Tool: &scriptedmodel.Tool{
			Name: "Bash", Input: map[string]any{"command": command, "description": "a step"},
		}}}}
	}
	return scriptedmodel.Scenario{Name: "steps", Turns: []scriptedmodel.Turn{
		step("echo one >>ledger"),
		step("echo two >>ledger; until [ -e go ]; do sleep 0.05; done"),
		step("echo three >>ledger; echo did three"),
		{Blocks: []scriptedmodel.Block{{Text: "All steps are done."}}},
	}}
}

// inSecondStep enqueues such a prompt, whose run goes on when its executor is
// lost, and returns when its second command is at work.
func (s *stack) inSecondStep(mode backendv1.ContainerMode) (f *follower, session, run string) {
	s.t.Helper()
	session, run = s.enqueueResumable("Do it. [[steps]]", "", mode)
	if s.runtime == processRuntime { // a persistent one outlives its manager
		s.t.Cleanup(func() {
			send(s.t, processesWith(s.t, "WORKSPACE_PATH="+s.workspace(s.manager, session)), syscall.SIGKILL)
		})
	}
	f = s.follow(session)
	f.awaitTool("Bash")
	ledger := filepath.Join(s.workspace(s.manager, session), "ledger")
	require.Eventually(s.t, func() bool {
		content, err := os.ReadFile(ledger)
		return err == nil && strings.Count(string(content), "\n") == 2
	}, awaitTimeout, 20*time.Millisecond)
	return f, session, run
}

// requireResumed checks that the second attempt brought the run to its end, and
// that no command was executed again but the one that was cut off.
func (s *stack) requireResumed(f *follower, session, run string) {
	s.t.Helper()
	end := f.awaitEnd(run)
	require.Equal(s.t, backendv1.RunStatus_RUN_STATUS_COMPLETED, end.GetStatus(), "%s: %s", end.GetReason(), end.GetMessage())
	require.EqualValues(s.t, 2, s.run(run).GetAttempt())
	f.awaitText("All steps are done.")
	f.await("it is told that an executor was lost", func(e *backendv1.SessionEvent) bool {
		return e.GetRunId() == run && e.GetPayload().GetNotice().GetCode() == "executor_lost"
	})
	f.requireExactlyOnce()
	content, err := os.ReadFile(filepath.Join(s.workspace(s.manager, session), "ledger"))
	require.NoError(s.t, err)
	executed := strings.Fields(string(content))
	require.Equal(s.t, 1, strings.Count(string(content), "one"), executed)
	require.LessOrEqual(s.t, strings.Count(string(content), "two"), 2, executed)
	require.Equal(s.t, 1, strings.Count(string(content), "three"), executed)
	export := f.awaitExport(0)
	require.Equal(s.t, backendv1.ExportStatus_EXPORT_STATUS_READY, export.GetStatus(), export.GetReason())
	exports := 0
	for _, e := range f.all() {
		if e.GetPayload().GetExportChanged() != nil {
			exports++
		}
	}
	require.Equal(s.t, 2, exports, "asked for once, and made")
}

// executors are the processes that drive a session's agent.
func (s *stack) executors(session string) []int {
	s.t.Helper()
	pids := processesWith(s.t, "WORKSPACE_PATH="+s.workspace(s.manager, session))
	require.NotEmpty(s.t, pids)
	return pids
}

// send sends a signal to those of the processes that have not ended.
func send(t testing.TB, pids []int, sig syscall.Signal) {
	t.Helper()
	for _, pid := range pids {
		if err := syscall.Kill(pid, sig); !errors.Is(err, syscall.ESRCH) {
			require.NoError(t, err)
		}
	}
}

var bothModes = []backendv1.ContainerMode{
	backendv1.ContainerMode_CONTAINER_MODE_EPHEMERAL, backendv1.ContainerMode_CONTAINER_MODE_PERSISTENT,
}

// An executor that is gone is the end of an attempt, and not of a run that may
// be resumed.
func TestARunOutlivesItsExecutor(t *testing.T) {
	for _, mode := range bothModes {
		for name, sig := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "stopped": syscall.SIGTERM} {
			t.Run(mode.String()+" "+name, func(t *testing.T) {
				s := newStack(t, stackOptions{scenarios: []scriptedmodel.Scenario{steps()}}).start()
				f, session, run := s.inSecondStep(mode)
				agents := s.agentProcesses(session)
				send(t, s.executors(session), sig)
				for _, pid := range agents {
					awaitGone(t, pid)
				}
				s.letGo(session)
				s.requireResumed(f, session, run)
			})
		}
	}
}

// However a container ends, or stops to answer: its run goes on in another.
func TestARunOutlivesItsContainer(t *testing.T) {
	for _, mode := range bothModes {
		for name, strike := range map[string]func(*testing.T, *client.Client, string){
			"killed": func(t *testing.T, engine *client.Client, id string) {
				_, err := engine.ContainerKill(t.Context(), id, client.ContainerKillOptions{Signal: "KILL"})
				require.NoError(t, err)
			},
			"removed": func(t *testing.T, engine *client.Client, id string) {
				_, err := engine.ContainerRemove(t.Context(), id, client.ContainerRemoveOptions{Force: true})
				require.NoError(t, err)
			},
			"paused": func(t *testing.T, engine *client.Client, id string) {
				_, err := engine.ContainerPause(t.Context(), id, client.ContainerPauseOptions{})
				require.NoError(t, err)
			},
		} {
			t.Run(mode.String()+" "+name, func(t *testing.T) {
				s := newStack(t, stackOptions{runtime: dockerRuntime, scenarios: []scriptedmodel.Scenario{steps()}, env: map[string]string{"TASK_CLAIM_LEASE_SECONDS": shortLease}}).start()
				f, session, run := s.inSecondStep(mode)
				engine := openEngine(t)
				id, _, _ := s.container(session)
				strike(t, engine, id)
				s.letGo(session)
				s.requireResumed(f, session, run)
				_, err := engine.ContainerInspect(t.Context(), id, client.ContainerInspectOptions{})
				require.True(t, cerrdefs.IsNotFound(err), "the lost container is removed: %v", err)
			})
		}
	}
}

func openEngine(t *testing.T) *client.Client {
	t.Helper()
	engine, err := dockerengine.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, engine.Close()) })
	return engine
}

// The machine was restarted: manager and executor are gone together, and the
// manager is back within its lease.
func TestARunOutlivesItsMachine(t *testing.T) {
	for _, mode := range bothModes {
		t.Run(mode.String(), func(t *testing.T) {
			s := newStack(t, stackOptions{scenarios: []scriptedmodel.Scenario{steps()}}).start()
			f, session, run := s.inSecondStep(mode)
			executors, agents := s.executors(session), s.agentProcesses(session)
			s.manager.kill()
			send(t, executors, syscall.SIGKILL)
			send(t, agents, syscall.SIGKILL)
			s.letGo(session)
			s.manager.start()
			s.requireResumed(f, session, run)
		})
	}
}

// Backend and manager are away for so long that the executor gives its agent
// up; the run is resumed when they are back.
func TestARunOutlivesBackendAndManager(t *testing.T) {
	for _, mode := range bothModes {
		t.Run(mode.String(), func(t *testing.T) {
			s := newStack(t, stackOptions{scenarios: []scriptedmodel.Scenario{steps()}, env: map[string]string{"TASK_CLAIM_LEASE_SECONDS": shortLease}}).start()
			f, session, run := s.inSecondStep(mode)
			agents := s.agentProcesses(session)
			s.manager.kill()
			s.backend.kill()
			for _, pid := range agents {
				awaitGone(t, pid)
			}
			s.letGo(session)
			s.backend.start()
			s.manager.start()
			s.requireResumed(f, session, run)
		})
	}
}
