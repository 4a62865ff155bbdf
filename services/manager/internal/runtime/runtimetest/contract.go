// Package runtimetest holds the contract that every runtime of executors
// passes, and a scripted runtime that passes it in memory.
package runtimetest

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/manager/internal/runtime"
	"github.com/poco-ai/poco/services/manager/internal/runtime/runtimetest/behaviour"
)

// Harness tells the suite how to use an implementation.
type Harness struct {
	// Open makes a runtime for a worker on the machine under test. The suite
	// closes it; startTimeout 0 means the implementation's default.
	Open func(t *testing.T, workerID string, startTimeout time.Duration) runtime.Runtime
	// Workspace makes a workspace folder.
	Workspace func(t *testing.T) string
	// Kill ends an executor as SIGKILL from outside would.
	Kill func(t *testing.T, e runtime.Executor)
	// Host is under which name executors find this machine, and Listen the
	// address on which a server must listen for them.
	Host, Listen string
	// Leftovers lists what is still there of an executor: containers,
	// processes, files.
	Leftovers func(t *testing.T, executorID string) []string
}

// patience bounds every wait of the suite; it is only ever reached by a bug.
const patience = time.Minute

// Contract runs the suite.
func Contract(t *testing.T, h Harness) {
	for name, check := range map[string]func(*testing.T, Harness){
		"a launched executor answers":              answers,
		"stop ends it and frees everything":        stops,
		"stop kills what does not end":             stopsStubborn,
		"stop of the unknown is fine":              stopsUnknown,
		"exit code and last words":                 tellsExit,
		"killed from outside":                      tellsKill,
		"a restarted worker adopts":                adopts,
		"a restarted worker finds the dead":        findsDead,
		"another worker's executors are invisible": separatesWorkers,
		"list is ordered":                          lists,
		"a failing start leaves nothing":           cleansUpExit,
		"a silent start leaves nothing":            cleansUpSilence,
		"a canceled launch leaves nothing":         cleansUpCancel,
		"launches at the same time":                launchesConcurrently,
		"an id is used once":                       refusesSameID,
		"a bad spec is refused":                    refusesBadSpec,
		"a URL is asked for from where they run":   fetches,
		"waiting ends with its context":            watchEndsWithContext,
		"close ends waiting and leaves executors":  closes,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check(t, h)
		})
	}
}

// NewSpec makes a Spec with new ids in a workspace of the harness.
func (h Harness) NewSpec(t *testing.T) runtime.Spec {
	t.Helper()
	return runtime.Spec{
		ExecutorID: uuid.NewString(), RunID: uuid.NewString(), Attempt: 2, SessionID: uuid.NewString(), UserID: "default",
		WorkspaceDir: h.Workspace(t), StateDir: h.Workspace(t), Mode: runtime.ModeEphemeral, Token: "executor-token-" + uuid.NewString(),
		Env: map[string]string{"DEFAULT_MODEL": "test-model"},
	}
}

func (h Harness) behaving(t *testing.T, how string) runtime.Spec {
	t.Helper()
	spec := h.NewSpec(t)
	spec.Env[behaviour.Var] = how
	return spec
}

func (h Harness) open(t *testing.T) (runtime.Runtime, string) {
	t.Helper()
	worker := "test-" + uuid.NewString()
	return h.reopen(t, worker, 0), worker
}

func (h Harness) reopen(t *testing.T, worker string, startTimeout time.Duration) runtime.Runtime {
	t.Helper()
	rt := h.Open(t, worker, startTimeout)
	t.Cleanup(func() { require.NoError(t, rt.Close()) })
	return rt
}

// launch starts an executor that is removed at the end of the test, whatever
// became of rt.
func (h Harness) launch(t *testing.T, rt runtime.Runtime, worker string, spec runtime.Spec) runtime.Executor {
	t.Helper()
	e, err := rt.Launch(timeout(t), spec)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		last := h.Open(t, worker, 0)
		require.NoError(t, last.Stop(ctx, e.ID, 0))
		require.NoError(t, last.Close())
		require.Empty(t, h.Leftovers(t, e.ID))
	})
	return e
}

func timeout(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// Post calls an endpoint of the test executor and lets a broken connection
// pass: the executor may end before it answers.
func Post(t *testing.T, e runtime.Executor, path string, form url.Values) {
	t.Helper()
	req, err := http.NewRequestWithContext(timeout(t), http.MethodPost, e.Addr+path+"?"+form.Encode(), nil)
	require.NoError(t, err)
	req.Close = true
	if resp, err := http.DefaultTransport.RoundTrip(req); err == nil {
		require.NoError(t, resp.Body.Close())
	}
}

func exitWith(t *testing.T, e runtime.Executor, code int, say string) {
	t.Helper()
	Post(t, e, "/exit", url.Values{"code": {strconv.Itoa(code)}, "say": {say}})
}

func requireHealthy(t *testing.T, e runtime.Executor) {
	t.Helper()
	status, body := call(t, http.MethodGet, e.Addr+"/healthz")
	require.Equal(t, http.StatusOK, status, body)
}

func list(t *testing.T, rt runtime.Runtime) []runtime.Executor {
	t.Helper()
	found, err := rt.List(timeout(t), "")
	require.NoError(t, err)
	return found
}

type outcome struct {
	exit runtime.Exit
	err  error
}

// watch waits in the background.
func watch(ctx context.Context, rt runtime.Runtime, id string) <-chan outcome {
	result := make(chan outcome, 1)
	go func() {
		exit, err := rt.Watch(ctx, id)
		result <- outcome{exit, err}
	}()
	return result
}
