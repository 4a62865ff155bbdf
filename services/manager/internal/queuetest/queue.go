// Package queuetest is a scripted run queue for the manager's tests: the
// backend's rules of claims, fencing and event numbers, in memory.
package queuetest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// patience bounds every wait; it is only ever reached by a bug.
const patience = 30 * time.Second

// Run is a run as the queue has it.
type Run struct {
	ID, SessionID, Prompt string
	Config                *backendv1.TaskConfig
	Status                backendv1.RunStatus
	Reason                backendv1.RunReason
	Message               string
	Token                 int64
	Attempt               int32
	Events                []*backendv1.RunEvent
	Partials              []*backendv1.PartialContent
	// Appends counts the calls that stored something.
	Appends  int
	Renewals int
	// Started tells whether StartRun was called.
	Started bool
	// Submitted tells whether an event proved that the agent took the prompt.
	Submitted bool
	// Worker has claimed it.
	Worker string
	// Resumes counts the executors that were lost while the run went on.
	Resumes int
}

// Queue is a client of itself.
type Queue struct {
	queuev1.RunQueueServiceClient // panics for what is not scripted

	mu       sync.Mutex
	changed  chan struct{}
	runs     []*Run
	commands []*queuev1.RunCommand
	acked    []string
	reports  []*queuev1.ReportExportRequest
	pending  []*queuev1.PendingExport
	fail     map[string]error
	refused  map[string]int
	hints    int
	// owners and snapshots are of sessions.
	owners    map[string]string
	snapshots map[string]string
}

var _ queuev1.RunQueueServiceClient = (*Queue)(nil)

// New returns an empty queue.
func New() *Queue {
	return &Queue{
		changed: make(chan struct{}), fail: make(map[string]error), refused: make(map[string]int),
		owners: make(map[string]string), snapshots: make(map[string]string),
	}
}

// Enqueue adds a run of a session and hints at it.
func (q *Queue) Enqueue(sessionID, prompt string, config *backendv1.TaskConfig) string {
	q.mu.Lock()
	defer q.mu.Unlock()
	r := &Run{ID: uuid.NewString(), SessionID: sessionID, Prompt: prompt, Config: config, Status: backendv1.RunStatus_RUN_STATUS_QUEUED}
	q.runs = append(q.runs, r)
	q.hints++
	q.notify()
	return r.ID
}

// Fail makes a method fail; nil makes it work again.
func (q *Queue) Fail(method string, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.fail[method] = err
	q.notify()
}

// Unavailable is the error of a backend that is away.
func Unavailable() error { return status.Error(codes.Unavailable, "scripted outage") }

// Command queues a command for a run.
func (q *Queue) Command(cmd *queuev1.RunCommand) string {
	q.mu.Lock()
	defer q.mu.Unlock()
	cmd.Id = uuid.NewString()
	if r := q.find(cmd.GetRunId()); r != nil && cmd.GetCancel() != nil && !r.final() {
		r.Status = backendv1.RunStatus_RUN_STATUS_CANCELING
	}
	q.commands = append(q.commands, cmd)
	q.notify()
	return cmd.GetId()
}

// Steal gives a run's claim to somebody else.
func (q *Queue) Steal(runID string) { q.Update(runID, func(r *Run) { r.Token++ }) }

// Update changes a run.
func (q *Queue) Update(runID string, change func(*Run)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	change(q.find(runID))
	q.notify()
}

// Move says where a session's workspace is, and what it is kept as.
func (q *Queue) Move(sessionID, worker, snapshotKey string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.owners[sessionID], q.snapshots[sessionID] = worker, snapshotKey
}

// AddPendingExport adds an export that is owed.
func (q *Queue) AddPendingExport(e *queuev1.PendingExport) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pending = append(q.pending, e)
}

// View is what Await looks at.
type View struct {
	Acked   []string
	Reports []*queuev1.ReportExportRequest
	q       *Queue
}

// Run returns a copy of a run.
func (v View) Run(id string) Run { return *v.q.find(id) }

// Refused counts the calls of a method that Fail has made fail.
func (v View) Refused(method string) int { return v.q.refused[method] }

// Claimed counts the runs that are claimed, running or canceling.
func (v View) Claimed() int {
	n := 0
	for _, r := range v.q.runs {
		if r.Status != backendv1.RunStatus_RUN_STATUS_QUEUED && !r.final() {
			n++
		}
	}
	return n
}

// Await waits until ok says so.
func (q *Queue) Await(t testing.TB, what string, ok func(View) bool) {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		q.mu.Lock()
		met, changed := ok(View{Acked: q.acked, Reports: q.reports, q: q}), q.changed
		q.mu.Unlock()
		if met {
			return
		}
		select {
		case <-changed:
		case <-timeout.C:
			q.mu.Lock()
			for _, r := range q.runs {
				t.Logf("run %s: %v %s %q, %d events", r.ID, r.Status, r.Reason, r.Message, len(r.Events))
			}
			q.mu.Unlock()
			require.FailNow(t, "never happened: "+what)
		}
	}
}

// AwaitStatus waits for a run's status and returns the run.
func (q *Queue) AwaitStatus(t testing.TB, runID string, want backendv1.RunStatus) Run {
	t.Helper()
	var got Run
	q.Await(t, fmt.Sprintf("run is %v", want), func(v View) bool {
		got = v.Run(runID)
		return got.Status == want
	})
	return got
}

func (q *Queue) notify() {
	close(q.changed)
	q.changed = make(chan struct{})
}

func (q *Queue) find(id string) *Run {
	for _, r := range q.runs {
		if r.ID == id {
			return r
		}
	}
	return nil
}

func (r *Run) final() bool {
	return r.Status >= backendv1.RunStatus_RUN_STATUS_COMPLETED
}

// goesOn tells whether the run goes on whose attempt ended for a reason.
func (r *Run) goesOn(reason backendv1.RunReason) bool {
	return r.Resumes == 0 && (reason == backendv1.RunReason_RUN_REASON_EXECUTOR_LOST || reason == backendv1.RunReason_RUN_REASON_LEASE_LOST) &&
		r.Config.GetLostExecutorPolicy() == backendv1.LostExecutorPolicy_LOST_EXECUTOR_POLICY_RESUME
}

// call runs f under the lock unless the method is to fail.
func call[T any](q *Queue, ctx context.Context, method string, f func() (*T, error)) (*T, error) {
	if err := ctx.Err(); err != nil {
		return nil, status.FromContextError(err).Err()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.fail[method]; err != nil {
		q.refused[method]++
		q.notify()
		return nil, err
	}
	resp, err := f()
	q.notify()
	return resp, err
}

// Failure is a FailedPrecondition with an ErrorInfo.
func Failure(reason backendv1.ErrorReason, metadata map[string]string) error {
	s, err := status.New(codes.FailedPrecondition, reason.String()).WithDetails(&errdetails.ErrorInfo{Reason: rpcerror.ReasonText(reason), Domain: rpcerror.Domain, Metadata: metadata})
	if err != nil {
		return err
	}
	return s.Err()
}

// owned finds a run under the caller's token.
func (q *Queue) owned(runID string, token int64) (*Run, error) {
	r := q.find(runID)
	if r == nil {
		return nil, status.Error(codes.NotFound, "no such run")
	}
	if r.Token != token {
		return nil, Failure(backendv1.ErrorReason_ERROR_REASON_FENCING_TOKEN_STALE, nil)
	}
	return r, nil
}

// messages are the ids of the run's stored messages.
func (r *Run) messages() []string {
	var ids []string
	for _, e := range r.Events {
		if added := e.GetPayload().GetMessageAdded(); added != nil {
			ids = append(ids, added.GetMessageId())
		}
	}
	return ids
}

func (q *Queue) claim(r *Run) *queuev1.ClaimedRun {
	r.Token++
	return &queuev1.ClaimedRun{
		Run:    &backendv1.Run{Id: r.ID, SessionId: r.SessionID, Status: r.Status, Attempt: r.Attempt},
		UserId: "default", Prompt: r.Prompt, Config: r.Config, FencingToken: r.Token,
		NextRunSeq: int64(len(r.Events)) + 1, PromptSubmitted: r.Submitted, PromptOffered: r.Started, ReportedMessageIds: r.messages(),
		WorkspaceWorkerId: q.owners[r.SessionID], SnapshotKey: q.snapshots[r.SessionID],
	}
}

// ClaimRuns implements the queue.
func (q *Queue) ClaimRuns(ctx context.Context, req *queuev1.ClaimRunsRequest, _ ...grpc.CallOption) (*queuev1.ClaimRunsResponse, error) {
	return call(q, ctx, "ClaimRuns", func() (*queuev1.ClaimRunsResponse, error) {
		resp := &queuev1.ClaimRunsResponse{}
		busy := make(map[string]bool)
		for _, r := range q.runs {
			if r.Status != backendv1.RunStatus_RUN_STATUS_QUEUED && !r.final() {
				busy[r.SessionID] = true
			}
		}
		for _, r := range q.runs {
			if r.Status == backendv1.RunStatus_RUN_STATUS_QUEUED && !busy[r.SessionID] && len(resp.Runs) < int(req.GetMaxRuns()) {
				busy[r.SessionID] = true
				r.Status = backendv1.RunStatus_RUN_STATUS_CLAIMED
				r.Worker = req.GetWorkerId()
				r.Attempt++
				claim := q.claim(r)
				claim.LeaseDuration = req.GetLeaseDuration()
				resp.Runs = append(resp.Runs, claim)
			}
		}
		return resp, nil
	})
}

// RenewLeases implements the queue.
func (q *Queue) RenewLeases(ctx context.Context, req *queuev1.RenewLeasesRequest, _ ...grpc.CallOption) (*queuev1.RenewLeasesResponse, error) {
	return call(q, ctx, "RenewLeases", func() (*queuev1.RenewLeasesResponse, error) {
		resp := &queuev1.RenewLeasesResponse{}
		for _, l := range req.GetLeases() {
			r, err := q.owned(l.GetRunId(), l.GetFencingToken())
			renewal := &queuev1.LeaseRenewal{RunId: l.GetRunId(), Renewed: err == nil && !r.final(), LeaseDuration: req.GetLeaseDuration()}
			if err == nil {
				r.Renewals++
				renewal.Status = r.Status
			}
			resp.Renewals = append(resp.Renewals, renewal)
		}
		return resp, nil
	})
}

// AdoptRuns implements the queue.
func (q *Queue) AdoptRuns(ctx context.Context, req *queuev1.AdoptRunsRequest, _ ...grpc.CallOption) (*queuev1.AdoptRunsResponse, error) {
	return call(q, ctx, "AdoptRuns", func() (*queuev1.AdoptRunsResponse, error) {
		resp := &queuev1.AdoptRunsResponse{}
		for _, r := range q.runs {
			if r.Status != backendv1.RunStatus_RUN_STATUS_QUEUED && !r.final() {
				r.Worker = req.GetWorkerId()
				claim := q.claim(r)
				claim.LeaseDuration = req.GetLeaseDuration()
				resp.Runs = append(resp.Runs, claim)
			}
		}
		return resp, nil
	})
}

// ReleaseRuns implements the queue.
func (q *Queue) ReleaseRuns(ctx context.Context, req *queuev1.ReleaseRunsRequest, _ ...grpc.CallOption) (*queuev1.ReleaseRunsResponse, error) {
	return call(q, ctx, "ReleaseRuns", func() (*queuev1.ReleaseRunsResponse, error) {
		for _, l := range req.GetLeases() {
			r, err := q.owned(l.GetRunId(), l.GetFencingToken())
			switch {
			case err != nil || r.final():
				continue
			case r.Status == backendv1.RunStatus_RUN_STATUS_CANCELING:
				r.Status = backendv1.RunStatus_RUN_STATUS_CANCELED
			default:
				if r.Attempt == 1 && r.Started {
					r.Started = false
					delete(q.owners, r.SessionID)
				}
				r.Status, r.Token, r.Attempt = backendv1.RunStatus_RUN_STATUS_QUEUED, r.Token+1, r.Attempt-1
			}
		}
		return &queuev1.ReleaseRunsResponse{}, nil
	})
}

// StartRun implements the queue.
func (q *Queue) StartRun(ctx context.Context, req *queuev1.StartRunRequest, _ ...grpc.CallOption) (*queuev1.StartRunResponse, error) {
	return call(q, ctx, "StartRun", func() (*queuev1.StartRunResponse, error) {
		r, err := q.owned(req.GetRunId(), req.GetFencingToken())
		if err != nil {
			return nil, err
		}
		if r.Status == backendv1.RunStatus_RUN_STATUS_CANCELING {
			return nil, Failure(backendv1.ErrorReason_ERROR_REASON_RUN_CANCELED, nil)
		}
		r.Status, r.Started = backendv1.RunStatus_RUN_STATUS_RUNNING, true
		q.owners[r.SessionID] = r.Worker
		return &queuev1.StartRunResponse{}, nil
	})
}

// AppendRunEvents implements the queue.
func (q *Queue) AppendRunEvents(ctx context.Context, req *queuev1.AppendRunEventsRequest, _ ...grpc.CallOption) (*queuev1.AppendRunEventsResponse, error) {
	return call(q, ctx, "AppendRunEvents", func() (*queuev1.AppendRunEventsResponse, error) {
		r, err := q.owned(req.GetRunId(), req.GetFencingToken())
		if err != nil {
			return nil, err
		}
		for _, e := range req.GetEvents() {
			next := int64(len(r.Events)) + 1
			if e.GetRunSeq() > next {
				return nil, Failure(backendv1.ErrorReason_ERROR_REASON_RUN_SEQ_GAP, map[string]string{"expected_run_seq": strconv.FormatInt(next, 10)})
			}
			if e.GetRunSeq() < next {
				continue
			}
			r.Events = append(r.Events, e)
			r.Submitted = r.Submitted || e.GetPayload().GetAgentStarted() != nil
			if f := e.GetPayload().GetRunFinished(); f != nil && !r.final() {
				if r.Status == backendv1.RunStatus_RUN_STATUS_CANCELING {
					r.Status = backendv1.RunStatus_RUN_STATUS_CANCELED
				} else {
					r.Status = f.GetStatus()
				}
				r.Reason = f.GetReason()
			}
		}
		r.Partials = append(r.Partials, req.GetPartials()...)
		if len(req.GetEvents()) > 0 {
			r.Appends++
		}
		return &queuev1.AppendRunEventsResponse{AckedRunSeq: int64(len(r.Events)), Status: r.Status}, nil
	})
}

// RecoverRunEvents implements the queue.
func (q *Queue) RecoverRunEvents(ctx context.Context, req *queuev1.RecoverRunEventsRequest, _ ...grpc.CallOption) (*queuev1.RecoverRunEventsResponse, error) {
	return call(q, ctx, "RecoverRunEvents", func() (*queuev1.RecoverRunEventsResponse, error) {
		r := q.find(req.GetRunId())
		switch {
		case r == nil:
			return nil, status.Error(codes.NotFound, "no such run")
		case !r.final():
			return nil, Failure(backendv1.ErrorReason_ERROR_REASON_RUN_NOT_FINISHED, nil)
		case r.Worker != req.GetWorkerId():
			return nil, Failure(backendv1.ErrorReason_ERROR_REASON_FENCING_TOKEN_STALE, nil)
		}
		for _, e := range req.GetEvents() {
			next := int64(len(r.Events)) + 1
			switch {
			case e.GetRunSeq() > next:
				return nil, Failure(backendv1.ErrorReason_ERROR_REASON_RUN_SEQ_GAP, map[string]string{"expected_run_seq": strconv.FormatInt(next, 10)})
			case e.GetRunSeq() == next && e.GetPayload().GetRunFinished() == nil:
				r.Events = append(r.Events, e)
			}
		}
		return &queuev1.RecoverRunEventsResponse{AckedRunSeq: int64(len(r.Events))}, nil
	})
}

// FinishRun implements the queue.
func (q *Queue) FinishRun(ctx context.Context, req *queuev1.FinishRunRequest, _ ...grpc.CallOption) (*queuev1.FinishRunResponse, error) {
	return call(q, ctx, "FinishRun", func() (*queuev1.FinishRunResponse, error) {
		r, err := q.owned(req.GetRunId(), req.GetFencingToken())
		if err != nil {
			return nil, err
		}
		switch {
		case r.final():
		case r.Status == backendv1.RunStatus_RUN_STATUS_CANCELING:
			r.Status, r.Reason, r.Message = backendv1.RunStatus_RUN_STATUS_CANCELED, req.GetReason(), req.GetMessage()
		case r.goesOn(req.GetReason()):
			r.Status, r.Token, r.Resumes = backendv1.RunStatus_RUN_STATUS_QUEUED, r.Token+1, r.Resumes+1
			q.hints++
		default:
			r.Status, r.Reason, r.Message = req.GetStatus(), req.GetReason(), req.GetMessage()
		}
		return &queuev1.FinishRunResponse{Run: &backendv1.Run{Id: r.ID, Status: r.Status}}, nil
	})
}

// ResolveRunConfig implements the queue.
func (q *Queue) ResolveRunConfig(ctx context.Context, _ *queuev1.ResolveRunConfigRequest, _ ...grpc.CallOption) (*queuev1.ResolveRunConfigResponse, error) {
	return call(q, ctx, "ResolveRunConfig", func() (*queuev1.ResolveRunConfigResponse, error) {
		return &queuev1.ResolveRunConfigResponse{McpConfigJson: "{}"}, nil
	})
}

// ReportExport implements the queue.
func (q *Queue) ReportExport(ctx context.Context, req *queuev1.ReportExportRequest, _ ...grpc.CallOption) (*queuev1.ReportExportResponse, error) {
	return call(q, ctx, "ReportExport", func() (*queuev1.ReportExportResponse, error) {
		q.reports = append(q.reports, req)
		q.pending = slices.DeleteFunc(q.pending, func(e *queuev1.PendingExport) bool { return e.GetSessionId() == req.GetSessionId() })
		resp := &queuev1.ReportExportResponse{Accepted: true}
		if key := req.GetSnapshotKey(); key != "" {
			resp.SupersededSnapshotKey = q.snapshots[req.GetSessionId()]
			q.snapshots[req.GetSessionId()] = key
		}
		return resp, nil
	})
}

// ListPendingExports implements the queue.
func (q *Queue) ListPendingExports(ctx context.Context, _ *queuev1.ListPendingExportsRequest, _ ...grpc.CallOption) (*queuev1.ListPendingExportsResponse, error) {
	return call(q, ctx, "ListPendingExports", func() (*queuev1.ListPendingExportsResponse, error) {
		return &queuev1.ListPendingExportsResponse{Exports: slices.Clone(q.pending)}, nil
	})
}

// AckRunCommand implements the queue.
func (q *Queue) AckRunCommand(ctx context.Context, req *queuev1.AckRunCommandRequest, _ ...grpc.CallOption) (*queuev1.AckRunCommandResponse, error) {
	return call(q, ctx, "AckRunCommand", func() (*queuev1.AckRunCommandResponse, error) {
		q.acked = append(q.acked, req.GetCommandId())
		q.commands = slices.DeleteFunc(q.commands, func(c *queuev1.RunCommand) bool { return c.GetId() == req.GetCommandId() })
		return &queuev1.AckRunCommandResponse{}, nil
	})
}
