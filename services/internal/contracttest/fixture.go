package contracttest

import (
	"errors"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/internal/retry"
)

// claimPatience is how long a claim is tried again.
const claimPatience = 30 * time.Second

// lease is longer than any test.
var lease = durationpb.New(time.Hour)

var errNothing = errors.New("there is nothing to claim")

// States of runs.
const (
	unspecified = backendv1.RunStatus_RUN_STATUS_UNSPECIFIED
	queued      = backendv1.RunStatus_RUN_STATUS_QUEUED
	claimed     = backendv1.RunStatus_RUN_STATUS_CLAIMED
	running     = backendv1.RunStatus_RUN_STATUS_RUNNING
	canceling   = backendv1.RunStatus_RUN_STATUS_CANCELING
	completed   = backendv1.RunStatus_RUN_STATUS_COMPLETED
	failed      = backendv1.RunStatus_RUN_STATUS_FAILED
	canceled    = backendv1.RunStatus_RUN_STATUS_CANCELED
)

// resumes is the config of a run that goes on when its executor was lost.
var resumes = &backendv1.TaskConfig{LostExecutorPolicy: backendv1.LostExecutorPolicy_LOST_EXECUTOR_POLICY_RESUME.Enum()}

// fixture is one queue in one test.
type fixture struct {
	t *testing.T
	Subject
}

// run is a run as its worker knows it.
type run struct {
	*fixture
	id, session string
	claim       *queuev1.ClaimedRun
	// acked is the number of its last event.
	acked int64
}

func (f *fixture) enqueue(config *backendv1.TaskConfig) *run { return f.enqueueIn("", config) }

func (f *fixture) enqueueIn(session string, config *backendv1.TaskConfig) *run {
	f.t.Helper()
	session, id := f.Enqueue(f.t, session, "do it", config)
	return &run{fixture: f, id: id, session: session}
}

// claimAll claims what a worker may have, up to a limit.
func (f *fixture) claimAll(worker string, limit int32) []*queuev1.ClaimedRun {
	f.t.Helper()
	resp, err := f.ClaimRuns(f.t.Context(), &queuev1.ClaimRunsRequest{WorkerId: worker, MaxRuns: limit, LeaseDuration: lease})
	require.NoError(f.t, err)
	return resp.GetRuns()
}

// claimedBy claims a run, the only one that waits. It tries again when there is
// none: a claim may pass over a session that somebody looks at.
func (r *run) claimedBy(worker string) *run {
	r.t.Helper()
	claims, err := backoff.Retry(r.t.Context(), func() ([]*queuev1.ClaimedRun, error) {
		claims := r.claimAll(worker, 1)
		if len(claims) == 0 {
			return nil, errNothing
		}
		return claims, nil
	}, backoff.WithBackOff(retry.BackOff(time.Millisecond, 100*time.Millisecond)), backoff.WithMaxElapsedTime(claimPatience))
	require.NoError(r.t, err)
	require.Equal(r.t, r.id, claims[0].GetRun().GetId())
	r.claim = claims[0]
	return r
}

// Runs in the states that they can be in, held by "w1" or last held by it.

func (f *fixture) unknown() *run {
	return &run{fixture: f, id: uuid.NewString(), session: uuid.NewString()}
}

// queued is a run that nobody has, and so no token is for.
func (f *fixture) queued() *run { return f.enqueue(nil) }

func (f *fixture) claimed() *run { return f.enqueue(nil).claimedBy("w1") }

func (f *fixture) running() *run { return f.started(nil) }

func (f *fixture) started(config *backendv1.TaskConfig) *run {
	f.t.Helper()
	return f.enqueue(config).claimedBy("w1").begin()
}

func (f *fixture) canceling() *run { return f.running().cancel() }

func (f *fixture) canceled() *run {
	r := f.canceling()
	r.finishes(failed, backendv1.RunReason_RUN_REASON_EXECUTOR_LOST)
	return r
}

func (f *fixture) failed() *run {
	r := f.claimed()
	r.finishes(failed, backendv1.RunReason_RUN_REASON_IMAGE_MISSING)
	return r
}

func (f *fixture) completed() *run {
	r := f.running()
	r.appends(end(1, completed, 0))
	return r
}

// givenBack is a run that another worker has now.
func (f *fixture) givenBack() *run {
	r := f.claimed()
	r.release()
	(&run{fixture: f, id: r.id, session: r.session}).claimedBy("w2")
	return r
}

// adopted is a run that its worker has under another token.
func (f *fixture) adopted() *run {
	r := f.running()
	f.adopt("w1")
	return r
}

// lost is a run that was given up when its lease ran out.
func (f *fixture) lost() *run {
	r := f.running()
	r.appends(agentStarted("agent"))
	f.Expire(f.t, r.id)
	return r
}

func (r *run) start() (*queuev1.StartRunResponse, error) {
	return r.StartRun(r.t.Context(), &queuev1.StartRunRequest{RunId: r.id, FencingToken: r.claim.GetFencingToken()})
}

func (r *run) begin() *run {
	r.t.Helper()
	resp, err := r.start()
	require.NoError(r.t, err)
	require.Equal(r.t, running, resp.GetRun().GetStatus())
	return r
}

func (r *run) append(events ...*executorv1.RunEvent) (*queuev1.AppendRunEventsResponse, error) {
	return r.AppendRunEvents(r.t.Context(), &queuev1.AppendRunEventsRequest{RunId: r.id, FencingToken: r.claim.GetFencingToken(), Events: events})
}

// appends returns the state of the run after its events, of which all are
// acknowledged.
func (r *run) appends(events ...*executorv1.RunEvent) backendv1.RunStatus {
	r.t.Helper()
	resp, err := r.append(events...)
	require.NoError(r.t, err)
	r.acked = events[len(events)-1].GetRunSeq()
	require.Equal(r.t, r.acked, resp.GetAckedRunSeq())
	return resp.GetStatus()
}

func (r *run) recover(worker string, events ...*executorv1.RunEvent) (*queuev1.RecoverRunEventsResponse, error) {
	return r.RecoverRunEvents(r.t.Context(), &queuev1.RecoverRunEventsRequest{WorkerId: worker, RunId: r.id, Attempt: 1, Events: events})
}

func (r *run) finish(status backendv1.RunStatus, reason backendv1.RunReason) (*queuev1.FinishRunResponse, error) {
	return r.FinishRun(r.t.Context(), &queuev1.FinishRunRequest{
		RunId: r.id, FencingToken: r.claim.GetFencingToken(), Status: status, Reason: reason, Message: "because",
	})
}

func (r *run) cancel() *run {
	r.Cancel(r.t, r.id, "enough")
	return r
}

// release gives a run back.
func (r *run) release() {
	r.t.Helper()
	_, err := r.ReleaseRuns(r.t.Context(), &queuev1.ReleaseRunsRequest{WorkerId: "w1", Leases: []*queuev1.Lease{r.lease()}})
	require.NoError(r.t, err)
}

// adopt returns what a worker has, by the ids of the runs.
func (f *fixture) adopt(worker string) map[string]*queuev1.ClaimedRun {
	f.t.Helper()
	resp, err := f.AdoptRuns(f.t.Context(), &queuev1.AdoptRunsRequest{WorkerId: worker, LeaseDuration: lease})
	require.NoError(f.t, err)
	adopted := make(map[string]*queuev1.ClaimedRun)
	for _, c := range resp.GetRuns() {
		adopted[c.GetRun().GetId()] = c
	}
	return adopted
}

// finishes returns how the run has ended.
func (r *run) finishes(status backendv1.RunStatus, reason backendv1.RunReason) *backendv1.Run {
	r.t.Helper()
	resp, err := r.finish(status, reason)
	require.NoError(r.t, err)
	return resp.GetRun()
}

func (r *run) resolve() (*queuev1.ResolveRunConfigResponse, error) {
	return r.ResolveRunConfig(r.t.Context(), &queuev1.ResolveRunConfigRequest{RunId: r.id, FencingToken: r.claim.GetFencingToken()})
}

func (r *run) lease() *queuev1.Lease {
	return &queuev1.Lease{RunId: r.id, FencingToken: r.claim.GetFencingToken()}
}

// status is the state of a run, which anybody is told who asks for its lease.
func (r *run) status() backendv1.RunStatus {
	r.t.Helper()
	resp, err := r.RenewLeases(r.t.Context(), &queuev1.RenewLeasesRequest{
		WorkerId: "nobody", Leases: []*queuev1.Lease{{RunId: r.id, FencingToken: -1}}, LeaseDuration: lease,
	})
	require.NoError(r.t, err)
	require.False(r.t, resp.GetRenewals()[0].GetRenewed())
	return resp.GetRenewals()[0].GetStatus()
}

func event(seq int64, payload *executorv1.RunEventPayload) *executorv1.RunEvent {
	return &executorv1.RunEvent{RunSeq: seq, Payload: payload}
}

func notice(seq int64) *executorv1.RunEvent {
	return event(seq, &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_Notice{Notice: &backendv1.Notice{Code: "working"}}})
}

func message(seq int64, id string) *executorv1.RunEvent {
	return event(seq, &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_MessageAdded{MessageAdded: &backendv1.MessageAdded{
		MessageId: id, Role: backendv1.MessageRole_MESSAGE_ROLE_ASSISTANT,
	}}})
}

func agentStarted(agentSession string) *executorv1.RunEvent {
	return event(1, &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_AgentStarted{
		AgentStarted: &backendv1.AgentStarted{AgentSessionId: agentSession},
	}})
}

func end(seq int64, status backendv1.RunStatus, reason backendv1.RunReason) *executorv1.RunEvent {
	return event(seq, &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_RunFinished{
		RunFinished: &backendv1.RunFinished{Status: status, Reason: reason},
	}})
}
