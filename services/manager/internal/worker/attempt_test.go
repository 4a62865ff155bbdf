package worker_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/manager/internal/queuetest"
	"github.com/poco-ai/poco/services/manager/internal/runtime"
)

// giveUp ends a run whose lease ran out after its agent took the prompt.
func (h *host) giveUp(runID string) {
	h.queue.Update(runID, func(r *queuetest.Run) { r.Submitted = true })
	h.queue.Expire(runID)
}

// zombies is what two attempts of a run do: the first one works, and is never
// silent again until it is ended; the second one completes.
func zombies(second func(r *scriptedRun)) script {
	return func(ctx context.Context, r *scriptedRun) {
		if r.start.GetAttempt() > 1 {
			second(r)
			completes(ctx, r)
			return
		}
		if c := r.open(ctx); c != nil {
			r.notice(c)
			c.until(nothing)
			_ = c.Close()
		}
		for ctx.Err() == nil {
			if c := r.open(ctx); c != nil {
				r.next = c.welcome.GetAckedRunSeq() + 1
				r.report(c, &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_RunFinished{RunFinished: &backendv1.RunFinished{
					Status: failed, Reason: backendv1.RunReason_RUN_REASON_LEASE_LOST,
				}}})
				c.until(nothing)
				_ = c.Close()
			}
		}
	}
}

// A manager that comes back after its lease finds the executor of the attempt
// before. It can say nothing about the next one, which begins when it is gone.
func TestAnAttemptBeginsWhenTheOneBeforeIsGone(t *testing.T) {
	for _, mode := range []backendv1.ContainerMode{
		backendv1.ContainerMode_CONTAINER_MODE_EPHEMERAL, backendv1.ContainerMode_CONTAINER_MODE_PERSISTENT,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			var h *host
			var alive []runtime.Executor
			h = newHost(t, zombies(func(*scriptedRun) { alive = h.machine.Executors() }))
			stopping, carryOn := make(chan struct{}), make(chan struct{})
			first := h.manage(options{})
			id := h.queue.Enqueue(session(), "x", &backendv1.TaskConfig{ContainerMode: &mode})
			h.awaitEvents(id, 1)
			first.stop()
			zombie := h.machine.Executors()
			require.Len(t, zombie, 1)
			h.queue.Expire(id)

			h.machine.Stopping = sync.OnceValue(func() func(runtime.Executor) {
				var once sync.Once
				return func(runtime.Executor) {
					once.Do(func() { close(stopping) })
					<-carryOn
				}
			})()
			h.manage(options{})
			<-stopping
			h.queue.AwaitStatus(t, id, claimed)
			require.Equal(t, zombie, h.machine.Executors(), "nothing is launched beside it")
			// Another session's run does not wait for it.
			h.queue.AwaitStatus(t, h.queue.Enqueue(session(), "y", nil), running)
			close(carryOn)

			run := h.queue.AwaitStatus(t, id, completed)
			require.Len(t, run.Events, 3, "what the first attempt said, and what the second did")
			for _, e := range alive {
				require.NotEqual(t, zombie[0].ID, e.ID, "two agents in one workspace")
			}
		})
	}
}

// The backend may end a run whose executor goes on: it is not kept for the
// session's next run.
func TestABusyExecutorIsNotKept(t *testing.T) {
	h := newHost(t, func(ctx context.Context, r *scriptedRun) {
		c := r.open(ctx)
		r.notice(c)
		c.until(nothing)
		_ = c.Close()
		<-ctx.Done()
	})
	h.manage(options{lease: 3 * time.Second}) // the end is learned when the lease is renewed
	mode := backendv1.ContainerMode_CONTAINER_MODE_PERSISTENT
	config := &backendv1.TaskConfig{ContainerMode: &mode}
	s := session()
	id := h.queue.Enqueue(s, "x", config)
	h.awaitEvents(id, 1)
	before := h.machine.Executors()
	h.giveUp(id)
	next := h.queue.Enqueue(s, "y", config)
	h.awaitEvents(next, 1)
	after := h.machine.Executors()
	require.Len(t, after, 1)
	require.NotEqual(t, before[0].ID, after[0].ID)
}

// A persistent executor that was launched for the run may be busy with an
// attempt that is not held any more.
func TestABusyExecutorIsNotAdoptedForAnotherAttempt(t *testing.T) {
	mode := backendv1.ContainerMode_CONTAINER_MODE_PERSISTENT
	h := newHost(t, zombies(func(*scriptedRun) {}))
	first := h.manage(options{})
	id := h.queue.Enqueue(session(), "x", &backendv1.TaskConfig{ContainerMode: &mode})
	h.awaitEvents(id, 1)
	first.stop()
	// Another life of the manager began the second attempt, and died at once.
	h.queue.Update(id, func(r *queuetest.Run) { r.Attempt, r.Token = 2, r.Token+1 })

	second := h.manage(options{})
	run := h.queue.AwaitStatus(t, id, failed)
	require.Equal(t, backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, run.Reason)
	h.awaitExport(id)
	second.stop() // waits for the removal
	require.Empty(t, h.machine.Executors())
}

// What a manager has not given to an executor when it stops is for anybody, at
// once, and is no attempt.
func TestARunIsGivenBackWhenItsManagerStops(t *testing.T) {
	for name, stopExecutors := range map[string]bool{"for a restart": false, "for good": true} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, completes)
			boots, up := make(chan struct{}), make(chan struct{})
			h.health = func(ctx context.Context) {
				select {
				case boots <- struct{}{}:
				case <-up:
				case <-ctx.Done():
				}
				select {
				case <-up:
				case <-ctx.Done():
				}
			}
			first := h.manage(options{stopExecutors: stopExecutors})
			id := h.queue.Enqueue(session(), "x", nil)
			<-boots
			h.queue.AwaitStatus(t, id, running)
			first.stop()
			run := h.queue.AwaitStatus(t, id, queued)
			require.Zero(t, run.Attempt)
			require.Empty(t, h.machine.Executors())
			close(up)
			h.manage(options{})
			require.EqualValues(t, 1, h.queue.AwaitStatus(t, id, completed).Attempt)
		})
	}
}

// A cancel that was committed while the manager stops is not lost.
func TestACanceledRunThatIsGivenBackEndsCanceled(t *testing.T) {
	h := newHost(t, completes)
	boots := make(chan struct{})
	h.health = func(ctx context.Context) {
		select {
		case boots <- struct{}{}:
		case <-ctx.Done():
		}
		<-ctx.Done()
	}
	m := h.manage(options{})
	id := h.queue.Enqueue(session(), "x", nil)
	<-boots
	h.queue.AwaitStatus(t, id, running)
	h.queue.Cancel(id, "")
	m.stop()
	h.queue.AwaitStatus(t, id, backendv1.RunStatus_RUN_STATUS_CANCELED)
}
