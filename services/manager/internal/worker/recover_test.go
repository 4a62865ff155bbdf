package worker_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	managerv1 "github.com/poco-ai/poco/gen/go/poco/manager/v1"
	"github.com/poco-ai/poco/services/internal/journal"
	"github.com/poco-ai/poco/services/manager/internal/identity"
	"github.com/poco-ai/poco/services/manager/internal/queuetest"
	"github.com/poco-ai/poco/services/manager/internal/runtime"
)

func noticeEvent(seq int64, code string) *executorv1.RunEvent {
	return &executorv1.RunEvent{RunSeq: seq, Payload: &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_Notice{Notice: &backendv1.Notice{Code: code}}}}
}

func finishedEvent(seq int64, status backendv1.RunStatus, reason backendv1.RunReason) *executorv1.RunEvent {
	return &executorv1.RunEvent{RunSeq: seq, Payload: &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_RunFinished{
		RunFinished: &backendv1.RunFinished{Status: status, Reason: reason},
	}}}
}

// notices are the codes of a run's notices, and "end" for its end.
func notices(run queuetest.Run) []string {
	var codes []string
	for _, e := range run.Events {
		switch {
		case e.GetPayload().GetNotice() != nil:
			codes = append(codes, e.GetPayload().GetNotice().GetCode())
		case e.GetPayload().GetRunFinished() != nil:
			codes = append(codes, "end")
		}
	}
	return codes
}

// leave writes the journal of a run's first attempt, as an executor that is gone
// has left it, and what its agent adds.
func (h *host) leave(run queuetest.Run, added string, events ...*executorv1.RunEvent) {
	m := h.manageIdentity(h.t)
	defer m.close()
	state := filepath.Join(h.root, "active", "default", run.SessionID, "state")
	w, err := journal.Create(state, run.ID, 1, journal.KeyOf(m.identity.ChannelToken(identity.Attempt{RunID: run.ID, Number: 1})))
	require.NoError(h.t, err)
	for _, e := range events {
		require.NoError(h.t, w.Append(e))
	}
	require.NoError(h.t, w.Close())
	file, err := os.OpenFile(filepath.Join(state, journal.DirName, journal.Name(run.ID, 1)), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(h.t, err)
	_, err = file.WriteString(added)
	require.NoError(h.t, err)
	require.NoError(h.t, file.Close())
}

// What the executor of an attempt had not delivered comes before all that the
// next attempt does.
func TestTheNextAttemptDeliversWhatIsLeft(t *testing.T) {
	for name, c := range map[string]struct {
		left  []*executorv1.RunEvent
		added string
		want  []string
	}{
		"events": {
			left: []*executorv1.RunEvent{noticeEvent(1, "working"), noticeEvent(2, "undelivered"), finishedEvent(3, failed, backendv1.RunReason_RUN_REASON_LEASE_LOST)},
			want: []string{"working", "undelivered", "working", "end"},
		},
		"the end of the run": {
			left: []*executorv1.RunEvent{noticeEvent(2, "undelivered"), finishedEvent(3, completed, 0)},
			want: []string{"working", "undelivered", "end"},
		},
		"what the agent wrote": {
			left:  []*executorv1.RunEvent{noticeEvent(2, "undelivered")},
			added: "RunFinished COMPLETED, in a record that nobody has signed",
			want:  []string{"working", "undelivered", "events_lost", "working", "end"},
		},
		"nothing": {want: []string{"working", "working", "end"}},
		"a gap":   {left: []*executorv1.RunEvent{noticeEvent(4, "undelivered")}, want: []string{"working", "events_lost", "working", "end"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, zombies(func(*scriptedRun) {}))
			first := h.manage(options{})
			id := h.queue.Enqueue(session(), "x", nil)
			h.awaitEvents(id, 1)
			first.stop()
			h.kill(runtime.Exit{Code: 9})
			h.queue.Expire(id)
			h.leave(h.queue.AwaitStatus(t, id, queued), c.added, c.left...)
			h.manage(options{})
			run := h.queue.AwaitStatus(t, id, completed)
			require.Equal(t, c.want, notices(run))
			h.awaitExport(id)
			left, err := filepath.Glob(filepath.Join(h.root, "active", "default", run.SessionID, "state", "outbox", "*"))
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

// A run that was given up has its events all the same, and stays as it ended.
func TestWhatIsLeftOfARunThatHasEndedIsDelivered(t *testing.T) {
	h := newHost(t, works)
	first := h.manage(options{})
	id := h.queue.Enqueue(session(), "x", nil)
	h.awaitEvents(id, 1)
	first.stop()
	h.kill(runtime.Exit{Code: 9})
	h.giveUp(id)
	h.leave(h.queue.AwaitStatus(t, id, failed), "", noticeEvent(2, "undelivered"), finishedEvent(3, completed, 0))
	h.manage(options{})
	h.awaitEvents(id, 2)
	run := h.queue.AwaitStatus(t, id, failed)
	require.Equal(t, []string{"working", "undelivered"}, notices(run))
}

// An executor that is killed after its agent's end has left the end behind.
func TestTheEndThatAKilledExecutorHadNotDelivered(t *testing.T) {
	h := newHost(t, func(ctx context.Context, r *scriptedRun) {
		c := r.open(ctx)
		r.notice(c)
		c.until(func(m *managerv1.ConnectResponse) bool { return m.GetAck().GetRunSeq() == 1 })
		_ = c.Close()
		<-ctx.Done()
	})
	first := h.manage(options{})
	id := h.queue.Enqueue(session(), "x", nil)
	h.awaitEvents(id, 1)
	first.stop()
	h.leave(h.queue.AwaitStatus(t, id, running), "", noticeEvent(2, "undelivered"), finishedEvent(3, completed, 0))
	h.kill(runtime.Exit{Code: 9})
	h.manage(options{})
	require.Equal(t, []string{"working", "undelivered", "end"}, notices(h.queue.AwaitStatus(t, id, completed)))
}
