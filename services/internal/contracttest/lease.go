package contracttest

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
)

// requireClaimed requires that these runs are claimed, in this order.
func requireClaimed(t *testing.T, claims []*queuev1.ClaimedRun, want ...*run) {
	t.Helper()
	var got, ids []string
	for _, c := range claims {
		got = append(got, c.GetRun().GetId())
	}
	for _, r := range want {
		ids = append(ids, r.id)
	}
	require.Equal(t, ids, got)
}

var claiming = map[string]func(*fixture){
	"tells what there is to do": func(f *fixture) {
		session, id := f.Enqueue(f.t, "", "the prompt", resumes)
		claims := f.claimAll("w1", 1)
		require.Len(f.t, claims, 1)
		claim := claims[0]
		require.Equal(f.t, id, claim.GetRun().GetId())
		require.Equal(f.t, session, claim.GetRun().GetSessionId())
		require.Equal(f.t, claimed, claim.GetRun().GetStatus())
		require.EqualValues(f.t, 1, claim.GetRun().GetAttempt())
		require.Equal(f.t, "default", claim.GetUserId())
		require.Equal(f.t, "the prompt", claim.GetPrompt())
		require.Equal(f.t, resumes.GetLostExecutorPolicy(), claim.GetConfig().GetLostExecutorPolicy())
		require.Equal(f.t, lease.AsDuration(), claim.GetLeaseDuration().AsDuration())
		require.EqualValues(f.t, 1, claim.GetNextRunSeq())
		require.False(f.t, claim.GetPromptOffered())
		require.False(f.t, claim.GetPromptSubmitted())
		require.Empty(f.t, claim.GetAgentSessionId()+claim.GetWorkspaceWorkerId()+claim.GetSnapshotKey())
	},
	"takes the oldest, one of each session": func(f *fixture) {
		first := f.enqueue(nil)
		second, other, last := f.enqueueIn(first.session, nil), f.enqueue(nil), f.enqueue(nil)
		claims := f.claimAll("w1", 2)
		requireClaimed(f.t, claims, first, other)
		requireClaimed(f.t, f.claimAll("w1", 10), last)
		requireClaimed(f.t, f.claimAll("w1", 10))
		first.claim = claims[0]
		first.finishes(failed, backendv1.RunReason_RUN_REASON_IMAGE_MISSING)
		requireClaimed(f.t, f.claimAll("w1", 10), second)
	},
	"takes the modes that are asked for": func(f *fixture) {
		immediate := f.enqueue(nil)
		for _, c := range []struct {
			mode string
			want []*run
		}{{"scheduled", nil}, {"immediate", []*run{immediate}}} {
			resp, err := f.ClaimRuns(f.t.Context(), &queuev1.ClaimRunsRequest{WorkerId: "w1", MaxRuns: 1, LeaseDuration: lease, ScheduleModes: []string{c.mode}})
			require.NoError(f.t, err)
			requireClaimed(f.t, resp.GetRuns(), c.want...)
		}
	},
	"leaves what was canceled": func(f *fixture) {
		r := f.enqueue(nil)
		f.Cancel(f.t, r.id, "")
		require.Equal(f.t, canceled, r.status())
		requireClaimed(f.t, f.claimAll("w1", 1))
	},
	"leaves a deleted session": func(f *fixture) {
		r := f.running()
		next := f.enqueueIn(r.session, nil)
		f.Delete(f.t, r.session)
		require.Equal(f.t, canceling, r.status())
		require.Equal(f.t, canceled, next.status())
		r.appends(end(1, canceled, 0))
		requireClaimed(f.t, f.claimAll("w1", 1))
	},
	"keeps a session with its worker": func(f *fixture) {
		r := f.completed()
		next := f.enqueueIn(r.session, nil)
		requireClaimed(f.t, f.claimAll("w2", 1))
		f.Leave(f.t, "w1")
		next.claimedBy("w2")
		require.Equal(f.t, "w1", next.claim.GetWorkspaceWorkerId())
		next.begin().appends(end(1, completed, 0))
		next = f.enqueueIn(r.session, nil)
		requireClaimed(f.t, f.claimAll("w1", 1))
		require.Equal(f.t, "w2", next.claimedBy("w2").claim.GetWorkspaceWorkerId())
	},
	"keeps no session that nothing was started of": func(f *fixture) {
		r := f.failed()
		next := f.enqueueIn(r.session, nil).claimedBy("w2")
		require.Empty(f.t, next.claim.GetWorkspaceWorkerId())
	},
	"acts on leases that ran out": func(f *fixture) {
		for name, c := range map[string]struct {
			run  *run
			want backendv1.RunStatus
		}{
			"claimed":                  {f.claimed(), queued},
			"running, nothing heard":   {f.running(), queued},
			"running, the agent began": {f.lost(), failed},
			"canceling":                {f.canceling(), canceled},
			"completed":                {f.completed(), completed},
		} {
			f.Expire(f.t, c.run.id)
			require.Equal(f.t, c.want, c.run.status(), name)
		}
	},
	"keeps a conversation of each agent": func(f *fixture) {
		first := f.started(nil)
		first.appends(agentStarted("claude's"), end(2, completed, 0))
		other := f.enqueueIn(first.session, &backendv1.TaskConfig{Agent: new("codex")}).claimedBy("w1")
		require.Empty(f.t, other.claim.GetAgentSessionId())
		other.begin()
		other.appends(event(1, &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_AgentStarted{
			AgentStarted: &backendv1.AgentStarted{Agent: "codex", AgentSessionId: "the other's"},
		}}), end(2, completed, 0))
		claim := f.enqueueIn(first.session, &backendv1.TaskConfig{Agent: new("claude")}).claimedBy("w1").claim
		require.Equal(f.t, "claude's", claim.GetAgentSessionId())
	},
	"goes on with what another has begun": func(f *fixture) {
		r, said := f.started(resumes), uuid.NewString()
		r.appends(agentStarted("agent"), message(2, said))
		f.Expire(f.t, r.id)
		claim := r.claimedBy("w1").claim
		require.EqualValues(f.t, 2, claim.GetRun().GetAttempt())
		require.EqualValues(f.t, 3, claim.GetNextRunSeq())
		require.True(f.t, claim.GetPromptOffered())
		require.True(f.t, claim.GetPromptSubmitted())
		require.Equal(f.t, "agent", claim.GetAgentSessionId())
		require.Equal(f.t, []string{said}, claim.GetReportedMessageIds())
		r.begin()
		f.Expire(f.t, r.id)
		require.Equal(f.t, failed, r.status(), "once")
	},
}

var renewing = map[string]func(*fixture){
	"says of each run whether it is held": func(f *fixture) {
		req := &queuev1.RenewLeasesRequest{WorkerId: "w1", LeaseDuration: lease}
		resp, err := f.RenewLeases(f.t.Context(), req)
		require.NoError(f.t, err)
		require.Empty(f.t, resp.GetRenewals())

		givenBack := f.claimed()
		givenBack.release()
		other := givenBack.lease()
		(&run{fixture: f, id: givenBack.id}).claimedBy("w2")
		var want []*queuev1.LeaseRenewal
		for _, c := range []struct {
			lease  *queuev1.Lease
			held   bool
			status backendv1.RunStatus
		}{
			{f.claimed().lease(), true, claimed},
			{f.running().lease(), true, running},
			{f.canceling().lease(), true, canceling},
			{f.completed().lease(), false, completed},
			{f.lost().lease(), false, failed},
			{other, false, claimed},
			{f.enqueue(nil).claimedBy("w2").lease(), false, claimed},
			{f.unknown().lease(), false, unspecified},
			{f.enqueue(nil).lease(), false, queued},
		} {
			renewal := &queuev1.LeaseRenewal{RunId: c.lease.GetRunId(), Renewed: c.held, Status: c.status}
			if c.held {
				renewal.LeaseDuration = lease
			}
			req.Leases, want = append(req.Leases, c.lease), append(want, renewal)
		}
		resp, err = f.RenewLeases(f.t.Context(), req)
		require.NoError(f.t, err)
		require.Len(f.t, resp.GetRenewals(), len(want))
		for i, got := range resp.GetRenewals() {
			require.Truef(f.t, proto.Equal(want[i], got), "%d: want %v, got %v", i, want[i], got)
		}
	},
}

var adopting = map[string]func(*fixture){
	"hands a worker its runs again": func(f *fixture) {
		held := []*run{f.claimed(), f.running(), f.canceling()}
		f.completed()
		f.enqueue(nil).claimedBy("w2")
		adopted := f.adopt("w1")
		require.Len(f.t, adopted, len(held))
		for i, status := range []backendv1.RunStatus{claimed, running, canceling} {
			r := held[i]
			require.Equal(f.t, stale, refusalOf(errOf(r.resolve())))
			r.claim = adopted[r.id]
			require.NotNil(f.t, r.claim)
			require.Equal(f.t, status, r.claim.GetRun().GetStatus())
			require.EqualValues(f.t, 1, r.claim.GetRun().GetAttempt())
			require.Equal(f.t, lease.AsDuration(), r.claim.GetLeaseDuration().AsDuration())
			require.Equal(f.t, accepted, refusalOf(errOf(r.resolve())))
		}
		require.Empty(f.t, f.adopt("w3"))
	},
}

var releasing = map[string]func(*fixture){
	"is as if it had not been claimed": func(f *fixture) {
		for _, r := range []*run{f.claimed(), f.running()} {
			r.release()
			require.Equal(f.t, queued, r.status())
			r.release() // once more is the same
			claim := r.claimedBy("w2").claim
			require.EqualValues(f.t, 1, claim.GetRun().GetAttempt())
			require.False(f.t, claim.GetPromptOffered())
			require.Empty(f.t, claim.GetWorkspaceWorkerId())
		}
	},
	"leaves the workspace of runs before": func(f *fixture) {
		r := f.completed()
		next := f.enqueueIn(r.session, nil).claimedBy("w1").begin()
		next.release()
		requireClaimed(f.t, f.claimAll("w2", 1))
		require.Equal(f.t, "w1", next.claimedBy("w1").claim.GetWorkspaceWorkerId())
	},
	"keeps what an attempt before was offered": func(f *fixture) {
		r := f.running()
		f.Expire(f.t, r.id)
		r.claimedBy("w1").begin().release()
		claim := r.claimedBy("w1").claim
		require.EqualValues(f.t, 2, claim.GetRun().GetAttempt())
		require.True(f.t, claim.GetPromptOffered())
	},
	"changes nothing but what is held": func(f *fixture) {
		adopted := f.adopted()
		for name, c := range map[string]struct {
			run  *run
			want backendv1.RunStatus
		}{
			"canceling": {f.canceling(), canceled},
			"completed": {f.completed(), completed},
			"adopted":   {adopted, running},
			"unknown":   {f.unknown(), unspecified},
		} {
			c.run.release()
			require.Equal(f.t, c.want, c.run.status(), name)
		}
	},
}
