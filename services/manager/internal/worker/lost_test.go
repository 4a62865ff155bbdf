package worker_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/manager/internal/queuetest"
	"github.com/poco-ai/poco/services/manager/internal/runtime"
)

var resumes = &backendv1.TaskConfig{LostExecutorPolicy: backendv1.LostExecutorPolicy_LOST_EXECUTOR_POLICY_RESUME.Enum()}

// secondCompletes is a run whose first executor works until it is lost.
func secondCompletes(ctx context.Context, r *scriptedRun) {
	if r.start.GetAttempt() > 1 {
		completes(ctx, r)
		return
	}
	works(ctx, r)
}

// requireResumed waits for the end of a run that lost an executor: it is
// exported once, after its end.
func (h *host) requireResumed(t *testing.T, id string) {
	t.Helper()
	run := h.queue.AwaitStatus(t, id, completed)
	require.EqualValues(t, 2, run.Attempt)
	h.awaitExport(id)
	h.queue.Await(t, "one export", func(v queuetest.View) bool { return len(v.Reports) == 1 })
	require.Empty(t, h.machine.Executors())
}

func TestARunGoesOnWhenItsExecutorDies(t *testing.T) {
	h := newHost(t, secondCompletes)
	h.manage(options{})
	id := h.queue.Enqueue(session(), "x", resumes)
	h.awaitEvents(id, 1)
	h.kill(runtime.Exit{Code: 137, Signal: 9})
	h.requireResumed(t, id)
}

// The machine was restarted: manager and executor are gone together, and the
// manager is back within its lease.
func TestARunGoesOnWhenManagerAndExecutorDie(t *testing.T) {
	for name, removed := range map[string]bool{"it died": false, "it was removed": true} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, secondCompletes)
			first := h.manage(options{})
			id := h.queue.Enqueue(session(), "x", resumes)
			h.awaitEvents(id, 1)
			first.stop()
			h.kill(runtime.Exit{Code: 137, Signal: 9})
			if removed {
				h.remove(t)
			}
			h.manage(options{})
			h.requireResumed(t, id)
		})
	}
}

// An executor that is killed before it answers was lost, and not unable to start.
func TestARunGoesOnWhenItsExecutorDiesWhileItBoots(t *testing.T) {
	h := newHost(t, completes)
	boots := make(chan struct{}, 1)
	first := true
	h.health = func(ctx context.Context) {
		if first {
			first = false
			boots <- struct{}{}
			<-ctx.Done()
		}
	}
	h.manage(options{})
	id := h.queue.Enqueue(session(), "x", resumes)
	<-boots
	h.kill(runtime.Exit{Code: 137, Signal: 9})
	h.requireResumed(t, id)
}
