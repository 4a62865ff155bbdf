package worker_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/manager/internal/queuetest"
	"github.com/poco-ai/poco/services/manager/internal/runtime"
)

// survives reports one event on each channel and ends on the second.
func survives(ctx context.Context, r *scriptedRun) {
	c := r.open(ctx)
	if c == nil {
		return
	}
	r.notice(c)
	c.until(nothing)
	_ = c.Close()
	for ctx.Err() == nil {
		if c = r.open(ctx); c != nil {
			break
		}
	}
	if c == nil {
		return
	}
	defer c.Close()
	r.next = c.welcome.GetAckedRunSeq() + 1
	r.finish(c, backendv1.RunStatus_RUN_STATUS_COMPLETED)
	c.until(nothing)
}

func TestARestartedManagerGoesOn(t *testing.T) {
	h := newHost(t, survives)
	first := h.manage(options{})
	id := h.queue.Enqueue(session(), "x", nil)
	h.awaitEvents(id, 1)
	first.stop()
	require.Len(t, h.machine.Executors(), 1, "the executor lives on")
	require.Equal(t, running, h.queue.AwaitStatus(t, id, running).Status)

	h.manage(options{})
	run := h.queue.AwaitStatus(t, id, completed)
	require.Len(t, run.Events, 2, "nothing lost, nothing doubled")
	h.awaitExport(id)
	require.Empty(t, h.machine.Executors())
}

func TestARestartedManagerEndsWhatHasNoExecutor(t *testing.T) {
	for name, afterDeath := range map[string]bool{"it died": true, "it was removed": false} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, survives)
			first := h.manage(options{})
			id := h.queue.Enqueue(session(), "x", nil)
			h.awaitEvents(id, 1)
			first.stop()
			h.kill(runtime.Exit{Code: 9, LogTail: "last words"})
			if !afterDeath {
				h.remove(t)
			}
			h.manage(options{})
			run := h.queue.AwaitStatus(t, id, failed)
			require.Equal(t, backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, run.Reason)
			if afterDeath {
				require.Contains(t, run.Message, "last words")
			}
			h.awaitExport(id)
			require.Empty(t, h.machine.Executors())
		})
	}
}

// remove takes the executors away, as somebody else would.
func (h *host) remove(t *testing.T) {
	m := h.manageIdentity(t)
	defer m.close()
	for _, e := range h.machine.Executors() {
		require.NoError(t, m.runtime.Stop(t.Context(), e.ID, 0))
	}
}

func TestARestartedManagerStartsClaimedRunsAgain(t *testing.T) {
	h := newHost(t, completes)
	h.queue.Fail("StartRun", queuetest.Unavailable())
	h.queue.Fail("ReleaseRuns", queuetest.Unavailable()) // as if it had been killed
	first := h.manage(options{})
	id := h.queue.Enqueue(session(), "x", nil)
	h.queue.AwaitStatus(t, id, claimed)
	first.stop()
	require.Equal(t, claimed, h.queue.AwaitStatus(t, id, claimed).Status)
	require.Empty(t, h.machine.Executors(), "what was not started is not left behind")

	h.queue.Fail("StartRun", nil)
	h.manage(options{})
	h.queue.AwaitStatus(t, id, completed)
}

// An executor that has no run was never told of it, or is another process than
// the one that was: then it is not told again, because the agent may have acted.
func TestARestartedManagerFindsAnExecutorWithoutItsRun(t *testing.T) {
	for name, c := range map[string]struct {
		begun  bool
		status backendv1.RunStatus
		told   []string
	}{
		"it was not told":      {status: completed, told: []string{"working", "end"}},
		"it was started again": {begun: true, status: failed, told: []string{"undelivered"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, completes)
			// The process died after StartRun of the queue.
			id := h.queue.Enqueue(session(), "x", nil)
			m := h.manageIdentity(t)
			claim, err := h.queue.ClaimRuns(t.Context(), &queuev1.ClaimRunsRequest{
				WorkerId: m.identity.WorkerID, MaxRuns: 1, LeaseDuration: durationpb.New(time.Minute),
			})
			require.NoError(t, err)
			run := claim.GetRuns()[0]
			_, err = h.queue.StartRun(t.Context(), &queuev1.StartRunRequest{RunId: id, FencingToken: run.GetFencingToken()})
			require.NoError(t, err)
			executorID := session()
			_, err = m.runtime.Launch(t.Context(), runtime.Spec{
				ExecutorID: executorID, RunID: id, Attempt: run.GetRun().GetAttempt(), SessionID: run.GetRun().GetSessionId(), WorkspaceDir: t.TempDir(), StateDir: t.TempDir(), Token: m.identity.ExecutorToken(executorID),
			})
			require.NoError(t, err)
			m.close()
			if c.begun {
				h.leave(h.queue.AwaitStatus(t, id, running), "", noticeEvent(1, "undelivered"))
			}

			h.manage(options{})
			ended := h.queue.AwaitStatus(t, id, c.status)
			require.Equal(t, c.told, notices(ended))
			if c.begun {
				require.Equal(t, backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, ended.Reason)
				require.Contains(t, ended.Message, "started again")
			}
		})
	}
}

// An executor that is frozen does not come back to a restarted manager. It was
// heard before, so it is lost, and not one that has never found its manager.
func TestARestartedManagerMissesAnExecutor(t *testing.T) {
	h := newHost(t, func(ctx context.Context, r *scriptedRun) {
		c := r.open(ctx)
		r.notice(c)
		c.until(nothing)
		_ = c.Close()
		<-ctx.Done()
	})
	first := h.manage(options{})
	id := h.queue.Enqueue(session(), "x", nil)
	h.awaitEvents(id, 1)
	first.stop()
	second := h.manage(options{})
	<-second.worker.Adopted()
	second.clock.advance(time.Hour)
	run := h.queue.AwaitStatus(t, id, failed)
	require.Equal(t, backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, run.Reason, run.Message)
	require.Contains(t, run.Message, "channel has been broken")
}

func TestARestartedManagerRemovesOrphans(t *testing.T) {
	h := newHost(t, survives)
	first := h.manage(options{})
	id := h.queue.Enqueue(session(), "x", nil)
	h.awaitEvents(id, 1)
	first.stop()
	h.giveUp(id)
	second := h.manage(options{})
	<-second.worker.Adopted()
	second.stop() // waits for the removal
	require.Empty(t, h.machine.Executors())
}

func TestStopExecutorsEndsRunningRuns(t *testing.T) {
	h := newHost(t, survives)
	m := h.manage(options{stopExecutors: true})
	id := h.queue.Enqueue(session(), "x", nil)
	h.awaitEvents(id, 1)
	m.stop()
	run := h.queue.AwaitStatus(t, id, failed)
	require.Equal(t, backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, run.Reason)
	require.Contains(t, run.Message, "Poco was stopped")
	require.Empty(t, h.machine.Executors())
}

func TestPendingExportsAreMadeAfterARestart(t *testing.T) {
	h := newHost(t, completes)
	run := session()
	m := h.manageIdentity(t)
	h.queue.Owe(m.identity.WorkerID, session(), run)
	m.close()
	h.manage(options{})
	report := h.awaitExport(run)
	require.Equal(t, backendv1.ExportStatus_EXPORT_STATUS_FAILED, report.GetStatus())
	require.Contains(t, report.GetReason(), "no workspace")
}

func TestPersistentExecutorsAreUsedAgain(t *testing.T) {
	h := newHost(t, completes)
	m := h.manage(options{stopExecutors: true})
	mode := backendv1.ContainerMode_CONTAINER_MODE_PERSISTENT
	config := &backendv1.TaskConfig{ContainerMode: &mode}
	s := session()
	h.queue.AwaitStatus(t, h.queue.Enqueue(s, "one", config), completed)
	h.queue.AwaitStatus(t, h.queue.Enqueue(s, "two", config), completed)
	m.stop()
	h.mu.Lock()
	require.Len(t, h.executors, 1)
	for _, e := range h.executors {
		require.Equal(t, 2, e.starts)
	}
	h.mu.Unlock()
	require.Empty(t, h.machine.Executors())
}
