package contracttest

import (
	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// wrongBatches are what no executor sends.
var wrongBatches = map[string][]*executorv1.RunEvent{
	"number 0":           {notice(0)},
	"numbers with a gap": {notice(1), notice(3)},
	"numbers twice":      {notice(1), notice(1)},
	"no payload":         {{RunSeq: 1}},
	"more after the end": {end(1, completed, 0), notice(2)},
}

var appending = map[string]func(*fixture){
	"stores each event once": func(f *fixture) {
		r := f.running()
		require.Equal(f.t, running, r.appends(notice(1), notice(2)))
		for _, again := range [][]*executorv1.RunEvent{nil, {notice(1)}, {notice(1), notice(2)}} {
			resp, err := r.append(again...)
			require.NoError(f.t, err)
			require.EqualValues(f.t, 2, resp.GetAckedRunSeq())
		}
		r.appends(notice(2), notice(3))
		require.EqualValues(f.t, 4, f.adopt("w1")[r.id].GetNextRunSeq())
	},
	"refuses a gap": func(f *fixture) {
		r := f.running()
		r.appends(notice(1), notice(2))
		_, err := r.append(notice(4), notice(5))
		require.Equal(f.t, gap, refusalOf(err))
		require.Equal(f.t, "3", rpcerror.Metadata(err)["expected_run_seq"])
	},
	"refuses a wrong batch": func(f *fixture) {
		r := f.running()
		for name, batch := range wrongBatches {
			_, err := r.append(batch...)
			require.Equal(f.t, invalid, refusalOf(err), name)
		}
		r.appends(notice(1))
	},
	"acknowledges after the end what it has": func(f *fixture) {
		r := f.running()
		require.Equal(f.t, completed, r.appends(notice(1), end(2, completed, 0)))
		require.Equal(f.t, completed, r.appends(notice(1), end(2, completed, 0)))
		_, err := r.append(end(2, failed, 0), notice(3))
		require.Equal(f.t, invalid, refusalOf(err))
		_, err = r.append(notice(3))
		require.Equal(f.t, finished, refusalOf(err))
		require.Equal(f.t, "2", rpcerror.Metadata(err)["acked_run_seq"])
	},
	"lets a cancel win": func(f *fixture) {
		r := f.canceling()
		require.Equal(f.t, canceled, r.appends(end(1, completed, 0)))
		ended := r.finishes(failed, backendv1.RunReason_RUN_REASON_AGENT_ERROR)
		require.Equal(f.t, backendv1.RunReason_RUN_REASON_CANCELED, ended.GetStatusReason())
		require.Equal(f.t, "enough", ended.GetStatusMessage())
	},
	"takes an end without a state for a failure": func(f *fixture) {
		r := f.running()
		require.Equal(f.t, failed, r.appends(end(1, unspecified, 0)))
		require.Equal(f.t, backendv1.RunReason_RUN_REASON_AGENT_ERROR, r.finishes(canceled, backendv1.RunReason_RUN_REASON_AGENT_ERROR).GetStatusReason())
	},
	"goes on after a lost executor, once": func(f *fixture) {
		r := f.started(resumes)
		r.appends(agentStarted("agent"))
		resp, err := r.append(end(2, failed, backendv1.RunReason_RUN_REASON_LEASE_LOST))
		require.NoError(f.t, err)
		require.Equal(f.t, queued, resp.GetStatus())
		require.EqualValues(f.t, 1, resp.GetAckedRunSeq(), "the end of an attempt is no event")
		require.EqualValues(f.t, 2, r.claimedBy("w1").claim.GetNextRunSeq())
		require.Equal(f.t, failed, r.begin().appends(end(2, failed, backendv1.RunReason_RUN_REASON_LEASE_LOST)))
	},
}

var recovering = map[string]func(*fixture){
	"adds to the record of a run that has ended": func(f *fixture) {
		r := f.lost()
		for _, batch := range [][]*executorv1.RunEvent{
			{notice(2)},
			{agentStarted("agent"), notice(2)},
			{notice(2), end(3, completed, 0)}, // it has an end
		} {
			resp, err := r.recover("w1", batch...)
			require.NoError(f.t, err)
			require.EqualValues(f.t, 2, resp.GetAckedRunSeq())
		}
		require.Equal(f.t, failed, r.status())
	},
	"refuses a gap": func(f *fixture) {
		_, err := f.lost().recover("w1", notice(3))
		require.Equal(f.t, gap, refusalOf(err))
		require.Equal(f.t, "2", rpcerror.Metadata(err)["expected_run_seq"])
	},
	"refuses a wrong batch": func(f *fixture) {
		r := f.failed()
		for name, batch := range wrongBatches {
			_, err := r.recover("w1", batch...)
			require.Equal(f.t, invalid, refusalOf(err), name)
		}
	},
	"refuses another worker": func(f *fixture) {
		require.Equal(f.t, stale, refusalOf(errOf(f.lost().recover("w2", notice(2)))))
	},
}

var finishing = map[string]func(*fixture){
	"is final": func(f *fixture) {
		r := f.running()
		for _, reason := range []backendv1.RunReason{backendv1.RunReason_RUN_REASON_IMAGE_MISSING, backendv1.RunReason_RUN_REASON_RUN_TIMEOUT} {
			ended := r.finishes(failed, reason)
			require.Equal(f.t, failed, ended.GetStatus())
			require.Equal(f.t, backendv1.RunReason_RUN_REASON_IMAGE_MISSING, ended.GetStatusReason())
			require.Equal(f.t, "because", ended.GetStatusMessage())
		}
		require.Equal(f.t, completed, f.completed().finishes(failed, backendv1.RunReason_RUN_REASON_RUN_TIMEOUT).GetStatus())
	},
	"lets a cancel win": func(f *fixture) {
		ended := f.canceling().finishes(failed, backendv1.RunReason_RUN_REASON_EXECUTOR_LOST)
		require.Equal(f.t, canceled, ended.GetStatus())
		require.Equal(f.t, backendv1.RunReason_RUN_REASON_CANCELED, ended.GetStatusReason())
		require.Equal(f.t, "enough", ended.GetStatusMessage())
		r := f.running()
		f.Cancel(f.t, r.id, "")
		require.Equal(f.t, "because", r.finishes(failed, backendv1.RunReason_RUN_REASON_EXECUTOR_LOST).GetStatusMessage())
	},
	"goes on after a lost executor": func(f *fixture) {
		for name, c := range map[string]struct {
			run    *run
			reason backendv1.RunReason
			want   backendv1.RunStatus
		}{
			"that nothing was heard of": {f.started(resumes), backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, queued},
			"that had not begun":        {f.enqueue(resumes).claimedBy("w1"), backendv1.RunReason_RUN_REASON_LEASE_LOST, queued},
			"that had begun":            {f.began("agent"), backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, queued},
			"without a conversation":    {f.began(""), backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, failed},
			"by its policy only":        {f.running(), backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, failed},
			"for no other reason":       {f.started(resumes), backendv1.RunReason_RUN_REASON_RUN_TIMEOUT, failed},
			"unless it was canceled":    {f.started(resumes).cancel(), backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, canceled},
		} {
			require.Equal(f.t, c.want, c.run.finishes(failed, c.reason).GetStatus(), name)
			_, err := c.run.resolve()
			require.Equal(f.t, c.want == queued, refusalOf(err) == stale, name)
		}
	},
	"goes on once": func(f *fixture) {
		r := f.started(resumes)
		require.Equal(f.t, queued, r.finishes(failed, backendv1.RunReason_RUN_REASON_EXECUTOR_LOST).GetStatus())
		require.EqualValues(f.t, 2, r.claimedBy("w1").claim.GetRun().GetAttempt())
		require.Equal(f.t, failed, r.begin().finishes(failed, backendv1.RunReason_RUN_REASON_EXECUTOR_LOST).GetStatus())
	},
}

// began is a run that may be resumed and whose agent has taken the prompt.
func (f *fixture) began(agentSession string) *run {
	r := f.started(resumes)
	r.appends(agentStarted(agentSession))
	return r
}
