package worker_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	managerv1 "github.com/poco-ai/poco/gen/go/poco/manager/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/manager/internal/queuetest"
	"github.com/poco-ai/poco/services/manager/internal/runtime"
)

const (
	queued    = backendv1.RunStatus_RUN_STATUS_QUEUED
	claimed   = backendv1.RunStatus_RUN_STATUS_CLAIMED
	running   = backendv1.RunStatus_RUN_STATUS_RUNNING
	completed = backendv1.RunStatus_RUN_STATUS_COMPLETED
	failed    = backendv1.RunStatus_RUN_STATUS_FAILED
	canceling = backendv1.RunStatus_RUN_STATUS_CANCELING
	canceled  = backendv1.RunStatus_RUN_STATUS_CANCELED
)

// kill ends all executors as SIGKILL would.
func (h *host) kill(exit runtime.Exit) {
	for _, info := range h.machine.Executors() {
		h.machine.End(info.ID, exit)
		h.mu.Lock()
		e := h.executors[info.ID]
		h.mu.Unlock()
		e.die()
	}
}

// awaitEvents waits until a run has n events.
func (h *host) awaitEvents(runID string, n int) {
	h.t.Helper()
	h.queue.Await(h.t, fmt.Sprintf("%d events", n), func(v queuetest.View) bool { return len(v.Run(runID).Events) >= n })
}

// awaitExport waits for the report of a run's export.
func (h *host) awaitExport(runID string) *queuev1.ReportExportRequest {
	h.t.Helper()
	var report *queuev1.ReportExportRequest
	h.queue.Await(h.t, "export", func(v queuetest.View) bool {
		for _, r := range v.Reports {
			if r.GetRunId() == runID {
				report = r
			}
		}
		return report != nil
	})
	return report
}

func TestARunFromClaimToExport(t *testing.T) {
	h := newHost(t, completes)
	h.manage(options{})
	id := h.queue.Enqueue(session(), "hello", nil)
	run := h.queue.AwaitStatus(t, id, completed)
	require.Len(t, run.Events, 2)
	require.EqualValues(t, 1, run.Offered)
	report := h.awaitExport(id)
	require.Equal(t, backendv1.ExportStatus_EXPORT_STATUS_READY, report.GetStatus(), report.GetReason())
	require.Empty(t, h.machine.Executors(), "the executor is gone before the export")
	require.DirExists(t, filepath.Join(h.root, "active", "default", run.SessionID, "workspace"))
}

func TestExecutorsAreToldEverything(t *testing.T) {
	told := make(chan *scriptedRun, 1)
	h := newHost(t, func(ctx context.Context, r *scriptedRun) {
		told <- r
		completes(ctx, r)
	})
	h.manage(options{})
	limit := int64(1000)
	environment := &executorv1.RunEnvironment{Variables: []*executorv1.EnvironmentVariable{{Name: "COLOR", Value: "blue"}}}
	h.queue.Resolve(environment)
	h.queue.Enqueue(session(), "the prompt", &backendv1.TaskConfig{MaxTokens: &limit})
	start := (<-told).start
	require.Equal(t, "the prompt", start.GetPrompt())
	require.EqualValues(t, 1, start.GetNextRunSeq())
	require.Equal(t, "http://manager", start.GetChannelUrl())
	require.Equal(t, "http://manager/model", start.GetModelBaseUrl())
	require.NotEqual(t, start.GetChannelToken(), start.GetModelToken())
	require.EqualValues(t, 1, start.GetAttempt())
	require.True(t, proto.Equal(environment, start.GetEnvironment()), "%v", start.GetEnvironment())
	require.EqualValues(t, 1000, start.GetLimits().GetMaxTokens())
	require.InDelta(t, time.Minute.Seconds(), start.GetLeaseTtl().AsDuration().Seconds(), 5)
	require.False(t, start.GetPromptSubmitted())
}

func TestNoMoreRunsThanSlots(t *testing.T) {
	release := make(chan struct{})
	h := newHost(t, func(ctx context.Context, r *scriptedRun) {
		select {
		case <-release:
		case <-ctx.Done():
		}
		completes(ctx, r)
	})
	m := h.manage(options{slots: 2})
	var ids []string
	for range 6 {
		ids = append(ids, h.queue.Enqueue(session(), "x", nil))
	}
	for _, id := range ids[:2] {
		h.queue.AwaitStatus(t, id, running)
	}
	held, limit := m.worker.Load()
	require.Equal(t, 2, held)
	require.Equal(t, 2, limit)
	most := 0
	close(release)
	h.queue.Await(t, "all complete", func(v queuetest.View) bool {
		most = max(most, v.Claimed())
		done := 0
		for _, id := range ids {
			if v.Run(id).Status == completed {
				done++
			}
		}
		return done == len(ids)
	})
	require.LessOrEqual(t, most, 2, "a slot is held until the run's executor is gone")
}

func TestRunsOfASessionFollowEachOther(t *testing.T) {
	h := newHost(t, completes)
	h.manage(options{})
	s := session()
	first, second := h.queue.Enqueue(s, "one", nil), h.queue.Enqueue(s, "two", nil)
	h.queue.AwaitStatus(t, first, completed)
	h.queue.AwaitStatus(t, second, completed)
	h.awaitExport(second)
}

func TestCancel(t *testing.T) {
	t.Run("while the agent works", func(t *testing.T) {
		h := newHost(t, works)
		h.manage(options{})
		id := h.queue.Enqueue(session(), "x", nil)
		h.awaitEvents(id, 1)
		command := h.queue.Cancel(id, "")
		h.queue.AwaitStatus(t, id, canceled)
		h.queue.Await(t, "acknowledgement", func(v queuetest.View) bool { return len(v.Acked) > 0 && v.Acked[0] == command })
	})
	t.Run("while the executor is launched", func(t *testing.T) {
		h := newHost(t, works)
		launching := make(chan string)
		h.machine.Refuse = func(spec runtime.Spec) error {
			launching <- spec.RunID
			<-launching
			return nil
		}
		h.manage(options{})
		id := h.queue.Enqueue(session(), "x", nil)
		require.Equal(t, id, <-launching)
		h.queue.Cancel(id, "")
		launching <- ""
		run := h.queue.AwaitStatus(t, id, canceled)
		require.Equal(t, backendv1.RunReason_RUN_REASON_CANCELED, run.Reason)
		require.Zero(t, run.Offered)
	})
	t.Run("of an executor that does not stop", func(t *testing.T) {
		h := newHost(t, func(ctx context.Context, r *scriptedRun) {
			if c := r.open(ctx); c != nil {
				r.notice(c)
				c.until(nothing)
				_ = c.Close()
			}
		})
		h.manage(options{cancelGrace: time.Millisecond})
		id := h.queue.Enqueue(session(), "x", nil)
		h.awaitEvents(id, 1)
		h.queue.Cancel(id, "")
		require.Contains(t, h.queue.AwaitStatus(t, id, canceled).Message, "did not stop in time")
		h.awaitExport(id)
		require.Empty(t, h.machine.Executors())
	})
	t.Run("of an unknown run", func(t *testing.T) {
		h := newHost(t, works)
		h.manage(options{})
		command := h.queue.Command(&queuev1.RunCommand{RunId: session(), Kind: &queuev1.RunCommand_Cancel{Cancel: &queuev1.CancelCommand{}}})
		h.queue.Await(t, "acknowledgement", func(v queuetest.View) bool { return len(v.Acked) > 0 && v.Acked[0] == command })
	})
}

func TestFailuresBeforeTheStart(t *testing.T) {
	for name, c := range map[string]struct {
		refuse error
		break_ func(*testing.T, *host)
		reason backendv1.RunReason
		says   string
	}{
		"image missing": {refuse: fmt.Errorf("%w: poco-executor: build it", runtime.ErrImageMissing), reason: backendv1.RunReason_RUN_REASON_IMAGE_MISSING, says: "build it"},
		"engine down":   {refuse: fmt.Errorf("%w: no answer at unix:///x", runtime.ErrEngineUnavailable), reason: backendv1.RunReason_RUN_REASON_ENGINE_UNAVAILABLE, says: "unix:///x"},
		"CLI missing":   {refuse: runtime.ErrCLIMissing, reason: backendv1.RunReason_RUN_REASON_AGENT_MISSING, says: "Claude"},
		"never ready":   {refuse: runtime.ErrStartTimeout, reason: backendv1.RunReason_RUN_REASON_EXECUTOR_START_FAILED, says: "in time"},
		"exits at once": {refuse: &runtime.ExitedError{Exit: runtime.Exit{Code: 3, LogTail: "bad flag"}}, reason: backendv1.RunReason_RUN_REASON_EXECUTOR_START_FAILED, says: "bad flag"},
		"no workspace":  {break_: blockWorkspaces, reason: backendv1.RunReason_RUN_REASON_WORKSPACE_ERROR, says: "workspace"},
		"config not found": {break_: func(_ *testing.T, h *host) {
			h.queue.Fail("ResolveRunConfig", status.Error(codes.FailedPrecondition, "NO_SUCH_VARIABLE"))
		}, reason: backendv1.RunReason_RUN_REASON_CONFIG_ERROR, says: "NO_SUCH_VARIABLE"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, completes)
			h.machine.Refuse = func(runtime.Spec) error { return c.refuse }
			if c.break_ != nil {
				c.break_(t, h)
			}
			m := h.manage(options{})
			id := h.queue.Enqueue(session(), "x", nil)
			run := h.queue.AwaitStatus(t, id, failed)
			require.Equal(t, c.reason, run.Reason)
			require.Contains(t, run.Message, c.says)
			m.stop()
			require.Empty(t, h.machine.Executors(), "nothing is left behind")
		})
	}
}

// Whether executors reach the manager is asked until they do: an engine may come
// after the manager has started.
func TestARunOfAManagerThatExecutorsDoNotReach(t *testing.T) {
	h := newHost(t, completes)
	var engineBusy atomic.Bool
	m := h.manage(options{reached: func(context.Context) error {
		if engineBusy.Load() {
			return errors.New("the engine is busy")
		}
		return fmt.Errorf("%w: set CALLBACK_BASE_URL", runtime.ErrUnreachable)
	}})
	run := h.queue.AwaitStatus(t, h.queue.Enqueue(session(), "x", nil), failed)
	require.Equal(t, backendv1.RunReason_RUN_REASON_EXECUTOR_START_FAILED, run.Reason)
	require.Contains(t, run.Message, "CALLBACK_BASE_URL")
	require.Empty(t, h.machine.Executors(), "no executor is launched to wait for")

	engineBusy.Store(true)
	h.queue.AwaitStatus(t, h.queue.Enqueue(session(), "x", nil), completed)
	m.stop()
}

// blockWorkspaces puts a file where the user's folder would be.
func blockWorkspaces(t *testing.T, h *host) {
	require.NoError(t, os.MkdirAll(filepath.Join(h.root, "active"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(h.root, "active", "default"), nil, 0o644))
}

func TestAnExecutorThatDiesEndsItsRun(t *testing.T) {
	h := newHost(t, works)
	h.manage(options{})
	id := h.queue.Enqueue(session(), "x", nil)
	h.awaitEvents(id, 1)
	h.kill(runtime.Exit{Code: 137, OOMKilled: true, LogTail: "allocating…"})
	run := h.queue.AwaitStatus(t, id, failed)
	require.Equal(t, backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, run.Reason)
	require.Contains(t, run.Message, "EXECUTOR_MEMORY_MB")
	require.Contains(t, run.Message, "allocating…")
	h.awaitExport(id)
	require.Empty(t, h.machine.Executors())
}

func TestALeaseThatIsLostStopsTheExecutor(t *testing.T) {
	revoked := make(chan string, 1)
	work := func(ctx context.Context, r *scriptedRun) {
		c := r.open(ctx)
		if c == nil {
			return
		}
		defer c.Close()
		r.notice(c)
		c.until(func(m *managerv1.ConnectResponse) bool {
			if m.GetRevoked() != nil {
				revoked <- m.GetRevoked().GetReason()
			}
			return m.GetRevoked() != nil
		})
	}
	t.Run("taken over by another", func(t *testing.T) {
		h := newHost(t, work)
		h.manage(options{lease: 3 * time.Second})
		id := h.queue.Enqueue(session(), "x", nil)
		h.awaitEvents(id, 1)
		h.queue.Steal(id)
		require.NotEmpty(t, <-revoked)
	})
	t.Run("the manager was frozen", func(t *testing.T) {
		h := newHost(t, work)
		m := h.manage(options{lease: 3 * time.Second})
		id := h.queue.Enqueue(session(), "x", nil)
		h.awaitEvents(id, 1)
		h.queue.Steal(id) // the backend acted on its end
		m.clock.advance(time.Hour)
		require.NotEmpty(t, <-revoked)
		require.Equal(t, running, h.queue.AwaitStatus(t, id, running).Status, "nothing is said about a run that is not held")
	})
	t.Run("claimed again", func(t *testing.T) {
		attempts := make(chan string, 2)
		h := newHost(t, func(ctx context.Context, r *scriptedRun) {
			if len(note(attempts, r.executor.spec.ExecutorID)) == 1 {
				work(ctx, r)
				return
			}
			completes(ctx, r)
		})
		h.manage(options{lease: 3 * time.Second, pull: 50 * time.Millisecond})
		id := h.queue.Enqueue(session(), "x", nil)
		h.awaitEvents(id, 1)
		h.queue.Expire(id)
		h.queue.AwaitStatus(t, id, completed)
		require.NotEmpty(t, <-revoked)
		first, second := <-attempts, <-attempts
		require.NotEqual(t, first, second, "another executor")
	})
	t.Run("renewed in time", func(t *testing.T) {
		h := newHost(t, works)
		h.manage(options{lease: time.Second})
		id := h.queue.Enqueue(session(), "x", nil)
		h.queue.Await(t, "three renewals", func(v queuetest.View) bool { return v.Run(id).Renewals >= 3 })
	})
}

// The backend is away for longer than a lease: the agent is held, and goes on
// when the backend is back. An executor that dies meanwhile is told then.
func TestALeaseThatOutlivesABackendThatIsAway(t *testing.T) {
	for name, c := range map[string]struct {
		dies bool
		want backendv1.RunStatus
	}{"the executor lives": {false, completed}, "the executor dies": {true, failed}} {
		t.Run(name, func(t *testing.T) {
			held := make(chan struct{})
			h := newHost(t, func(ctx context.Context, r *scriptedRun) {
				c := r.open(ctx)
				if c == nil {
					return
				}
				defer c.Close()
				r.notice(c)
				c.until(func(m *managerv1.ConnectResponse) bool {
					return m.GetLeaseRenewed() != nil && m.GetLeaseRenewed().GetLeaseTtl().AsDuration() == 0
				})
				close(held)
				if !c.until(func(m *managerv1.ConnectResponse) bool { return m.GetLeaseRenewed().GetLeaseTtl().AsDuration() > 0 }) {
					return
				}
				r.finish(c, completed)
				c.until(func(m *managerv1.ConnectResponse) bool { return m.GetAck().GetRunSeq() == r.next-1 })
			})
			m := h.manage(options{lease: 3 * time.Second})
			id := h.queue.Enqueue(session(), "x", nil)
			h.awaitEvents(id, 1)
			away := []string{"RenewLeases", "AppendRunEvents", "FinishRun", "ClaimRuns"}
			for _, method := range away {
				h.queue.Fail(method, queuetest.Unavailable())
			}
			m.clock.advance(time.Hour)
			<-held
			if c.dies {
				h.kill(runtime.Exit{Code: 137})
				h.queue.Await(t, "the end cannot be reported", func(v queuetest.View) bool { return v.Refused("FinishRun") > 0 })
			}
			for _, method := range away {
				h.queue.Fail(method, nil)
			}
			h.queue.AwaitStatus(t, id, c.want)
		})
	}
}

// note notes an attempt and returns all of them.
func note(attempts chan string, id string) chan string {
	attempts <- id
	return attempts
}

func TestTheBackendMayGoAndComeBack(t *testing.T) {
	h := newHost(t, completes)
	for _, method := range []string{"AdoptRuns", "WatchQueue", "WatchRunCommands", "ClaimRuns", "StartRun", "AppendRunEvents", "ReportExport"} {
		h.queue.Fail(method, queuetest.Unavailable())
	}
	m := h.manage(options{pull: 50 * time.Millisecond})
	id := h.queue.Enqueue(session(), "x", nil)
	select {
	case <-m.worker.Adopted():
		t.Fatal("ready without knowing its runs")
	default:
	}
	for _, method := range []string{"AdoptRuns", "WatchQueue", "WatchRunCommands", "ClaimRuns"} {
		h.queue.Fail(method, nil)
	}
	h.queue.AwaitStatus(t, id, claimed)
	h.queue.Fail("StartRun", nil)
	h.queue.AwaitStatus(t, id, running)
	h.queue.Fail("AppendRunEvents", nil)
	h.queue.AwaitStatus(t, id, completed)
	h.queue.Fail("ReportExport", nil)
	h.awaitExport(id)
}

// An engine that is started anew fails no run.
func TestAnEngineThatIsAwayForAMoment(t *testing.T) {
	h := newHost(t, completes)
	var asked atomic.Int64
	h.machine.Refuse = func(runtime.Spec) error {
		if asked.Add(1) < 3 {
			return fmt.Errorf("%w: no answer at unix:///x", runtime.ErrEngineUnavailable)
		}
		return nil
	}
	h.manage(options{enginePatience: time.Minute})
	id := h.queue.Enqueue(session(), "x", nil)
	h.queue.AwaitStatus(t, id, completed)
	require.EqualValues(t, 3, asked.Load())
}
