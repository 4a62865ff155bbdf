package process_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/manager/internal/runtime"
	"github.com/poco-ai/poco/services/manager/internal/runtime/process"
	"github.com/poco-ai/poco/services/manager/internal/runtime/runtimetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// harness runs the test executor as a process, with a state folder that lives
// as long as t.
func harness(t *testing.T) (runtimetest.Harness, string) {
	t.Helper()
	executor := runtimetest.BuildExecutor(t)
	stateDir := t.TempDir()
	return runtimetest.Harness{
		Host: "127.0.0.1", Listen: "127.0.0.1",
		Open: func(t *testing.T, worker string, startTimeout time.Duration) runtime.Runtime {
			t.Helper()
			rt, err := process.New(process.Config{
				WorkerID: worker, StateDir: stateDir, Command: []string{executor}, CLIPath: executor,
				StartTimeout: startTimeout, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
			})
			require.NoError(t, err)
			return rt
		},
		Workspace: func(t *testing.T) string { t.Helper(); return t.TempDir() },
		Kill: func(t *testing.T, e runtime.Executor) {
			t.Helper()
			require.NoError(t, syscall.Kill(pidOf(t, e), syscall.SIGKILL))
		},
		Leftovers: func(t *testing.T, id string) []string {
			t.Helper()
			left, err := filepath.Glob(filepath.Join(stateDir, "*"+id+"*"))
			require.NoError(t, err)
			return append(left, processesOf(t, id)...)
		},
	}, stateDir
}

func pidOf(t *testing.T, e runtime.Executor) int {
	t.Helper()
	pid, err := strconv.Atoi(e.Handle)
	require.NoError(t, err)
	return pid
}

// processesOf lists the living processes with the executor's marker.
func processesOf(t *testing.T, id string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	require.NoError(t, err)
	var found []string
	for _, file := range files {
		env, err := os.ReadFile(file) // empty for one that has ended
		if err == nil && strings.Contains(string(env), "EXECUTOR_ID="+id) {
			found = append(found, filepath.Base(filepath.Dir(file)))
		}
	}
	return found
}

func TestContract(t *testing.T) {
	h, _ := harness(t)
	runtimetest.Contract(t, h)
}

// launchWithRunaway starts an executor with a grandchild that left its session and lost
// its parent.
func launchWithRunaway(t *testing.T, h runtimetest.Harness) (runtime.Runtime, runtime.Executor) {
	t.Helper()
	rt := h.Open(t, uuid.NewString(), 0)
	t.Cleanup(func() { require.NoError(t, rt.Close()) })
	e, err := rt.Launch(t.Context(), h.NewSpec(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.Empty(t, h.Leftovers(t, e.ID)) })
	pids := runtimetest.Ask[[]int](t, http.MethodPost, e.Addr+"/spawn")
	require.Len(t, pids, 1)
	require.Len(t, processesOf(t, e.ID), 2)
	return rt, e
}

func TestStopLeavesNoDescendant(t *testing.T) {
	h, _ := harness(t)
	for _, grace := range []time.Duration{0, time.Minute} {
		rt, e := launchWithRunaway(t, h)
		require.NoError(t, rt.Stop(t.Context(), e.ID, grace))
		require.Empty(t, processesOf(t, e.ID))
	}
}

func TestKilledExecutorLeavesNoDescendant(t *testing.T) {
	h, _ := harness(t)
	rt, e := launchWithRunaway(t, h)
	require.NoError(t, syscall.Kill(pidOf(t, e), syscall.SIGKILL))
	exit, err := rt.Watch(t.Context(), e.ID)
	require.NoError(t, err)
	require.Equal(t, syscall.SIGKILL, exit.Signal)
	require.Empty(t, processesOf(t, e.ID), "gone means all of it")
	require.NoError(t, rt.Stop(t.Context(), e.ID, 0))
}

func TestDescendantsOfAnExecutorThatDiedUnwatchedAreEnded(t *testing.T) {
	h, _ := harness(t)
	worker := uuid.NewString()
	first := h.Open(t, worker, 0)
	e, err := first.Launch(t.Context(), h.NewSpec(t))
	require.NoError(t, err)
	runtimetest.Ask[[]int](t, http.MethodPost, e.Addr+"/spawn")
	require.NoError(t, first.Close())
	require.NoError(t, syscall.Kill(pidOf(t, e), syscall.SIGKILL))

	second := h.Open(t, worker, 0)
	defer func() { require.NoError(t, second.Close()) }()
	exit, err := second.Watch(t.Context(), e.ID)
	require.NoError(t, err)
	require.Contains(t, []int{137, runtime.CodeUnknown}, exit.Code)
	require.Empty(t, processesOf(t, e.ID))
	require.NoError(t, second.Stop(t.Context(), e.ID, 0))
	require.Empty(t, h.Leftovers(t, e.ID))
}

func TestEnvironmentHoldsNoSecretOfTheManager(t *testing.T) {
	t.Setenv("ANTHROPIC_AUTH_TOKEN", "the-real-credential")
	t.Setenv("INTERNAL_API_TOKEN", "the-internal-token")
	h, stateDir := harness(t)
	rt := h.Open(t, uuid.NewString(), 0)
	defer func() { require.NoError(t, rt.Close()) }()
	spec := h.NewSpec(t)
	e, err := rt.Launch(t.Context(), spec)
	require.NoError(t, err)
	defer func() { require.NoError(t, rt.Stop(t.Context(), e.ID, 0)) }()

	env := runtimetest.Ask[[]string](t, http.MethodGet, e.Addr+"/environ")
	require.NotContains(t, strings.Join(env, "\n"), "the-real-credential")
	require.NotContains(t, strings.Join(env, "\n"), "the-internal-token")
	require.NotContains(t, strings.Join(env, "\n"), spec.Token)
	for _, want := range []string{
		"EXECUTOR_TOKEN=" + config.Hashed(spec.Token), "EXECUTOR_ID=" + spec.ExecutorID, "EXECUTOR_LISTEN_FD=3",
		"WORKSPACE_PATH=" + spec.WorkspaceDir, "EXECUTOR_STATE_PATH=" + spec.StateDir, "DEFAULT_MODEL=test-model", "POCO_ENV_FILE=/dev/null",
	} {
		require.Contains(t, env, want)
	}
	args := runtimetest.Ask[[]string](t, http.MethodGet, e.Addr+"/args")
	require.NotContains(t, strings.Join(args, " "), spec.Token)
	state, err := os.ReadFile(filepath.Join(stateDir, e.ID+".json"))
	require.NoError(t, err)
	require.NotContains(t, string(state), spec.Token)
}

func TestAReusedProcessNumberIsNotTakenForTheExecutor(t *testing.T) {
	h, stateDir := harness(t)
	worker, id := uuid.NewString(), uuid.NewString()
	// This process's own number, with the identity of one long gone.
	state, err := json.Marshal(map[string]any{
		"id": id, "worker_id": worker, "run_id": "r", "session_id": "s", "mode": "ephemeral",
		"pid": os.Getpid(), "identity": "an earlier boot:1", "started_at": time.Now(),
	})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(stateDir, id+".json"), state, 0o600))

	rt := h.Open(t, worker, 0)
	defer func() { require.NoError(t, rt.Close()) }()
	exit, err := rt.Watch(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, runtime.CodeUnknown, exit.Code)
	require.NoError(t, rt.Stop(t.Context(), id, 0), "this test must survive it")
	left, err := filepath.Glob(filepath.Join(stateDir, "*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

// The product's executor takes the inherited socket, and ends when asked.
func TestRealExecutor(t *testing.T) {
	rt, err := process.New(process.Config{
		WorkerID: "w", StateDir: t.TempDir(), Command: []string{runtimetest.BuildRealExecutor(t)},
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, rt.Close()) }()
	h, _ := harness(t)
	spec := h.NewSpec(t)
	e, err := rt.Launch(t.Context(), spec)
	require.NoError(t, err)
	runtimetest.RequireRealExecutor(t, e, spec)
	waiting := make(chan runtime.Exit, 1)
	go func() {
		exit, err := rt.Watch(t.Context(), e.ID)
		exit.Note += fmt.Sprint(err)
		waiting <- exit
	}()
	require.NoError(t, syscall.Kill(pidOf(t, e), syscall.SIGTERM))
	exit := <-waiting
	require.Zero(t, exit.Code, exit.LogTail)
	require.NotContains(t, exit.LogTail, spec.Token)
	require.NoError(t, rt.Stop(t.Context(), e.ID, 0))
	require.Empty(t, processesOf(t, e.ID))
}

func TestCheckNamesTheFix(t *testing.T) {
	stateDir := t.TempDir()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	for name, c := range map[string]struct {
		cfg  process.Config
		kind error
		fix  string
	}{
		"no cli": {
			process.Config{Command: []string{"/bin/true"}, CLIPath: "/nowhere/claude"},
			runtime.ErrCLIMissing, "CLAUDE_CLI_PATH",
		},
		"no executor": {
			process.Config{Command: []string{"/nowhere/executor"}, CLIPath: "/bin/true"},
			runtime.ErrExecutorMissing, "EXECUTOR_COMMAND",
		},
	} {
		c.cfg.WorkerID, c.cfg.StateDir, c.cfg.Logger = "w", stateDir, quiet
		rt, err := process.New(c.cfg)
		require.NoError(t, err)
		err = rt.Check(t.Context())
		require.ErrorIs(t, err, c.kind, name)
		require.ErrorContains(t, err, c.fix, name)
		require.NoError(t, rt.Close())
	}
}
