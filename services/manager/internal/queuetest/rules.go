package queuetest

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/google/uuid"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/internal/agents"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

const (
	queued    = backendv1.RunStatus_RUN_STATUS_QUEUED
	claimed   = backendv1.RunStatus_RUN_STATUS_CLAIMED
	running   = backendv1.RunStatus_RUN_STATUS_RUNNING
	canceling = backendv1.RunStatus_RUN_STATUS_CANCELING
	completed = backendv1.RunStatus_RUN_STATUS_COMPLETED
	failed    = backendv1.RunStatus_RUN_STATUS_FAILED
	canceled  = backendv1.RunStatus_RUN_STATUS_CANCELED
)

// Failure is a FailedPrecondition with an ErrorInfo.
func Failure(reason backendv1.ErrorReason, metadata map[string]string) error {
	return refusal(codes.FailedPrecondition, reason, reason.String(), metadata)
}

func invalid(message string) error {
	return refusal(codes.InvalidArgument, backendv1.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, message, nil)
}

func refusal(code codes.Code, reason backendv1.ErrorReason, message string, metadata map[string]string) error {
	s, err := status.New(code, message).WithDetails(&errdetails.ErrorInfo{Reason: rpcerror.ReasonText(reason), Domain: rpcerror.Domain, Metadata: metadata})
	if err != nil {
		return err
	}
	return s.Err()
}

func (r *Run) final() bool { return r.Status >= completed }

func (r *Run) active() bool { return r.Status != queued && !r.final() }

func (r *Run) acked() int64 { return int64(len(r.Events)) }

func (r *Run) proto() *backendv1.Run {
	return &backendv1.Run{Id: r.ID, SessionId: r.SessionID, Status: r.Status, StatusReason: r.Reason, StatusMessage: r.Message, Attempt: r.Attempt}
}

// unstored are the events that the run does not have.
func (r *Run) unstored(events []*executorv1.RunEvent) []*executorv1.RunEvent {
	for len(events) > 0 && events[0].GetRunSeq() <= r.acked() {
		events = events[1:]
	}
	return events
}

func (r *Run) gap() error {
	return Failure(backendv1.ErrorReason_ERROR_REASON_RUN_SEQ_GAP, map[string]string{"expected_run_seq": strconv.FormatInt(r.acked()+1, 10)})
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

// checkBatch refuses what no executor sends.
func checkBatch(events []*executorv1.RunEvent) error {
	for i, e := range events {
		switch {
		case e.GetRunSeq() < 1 || i > 0 && e.GetRunSeq() != events[i-1].GetRunSeq()+1:
			return invalid("run_seq")
		case e.GetPayload() == nil:
			return invalid("payload")
		case i < len(events)-1 && e.GetPayload().GetRunFinished() != nil:
			return invalid("events after the end")
		}
	}
	return nil
}

// Every method below is called under the lock.

func (q *Queue) find(id string) *Run {
	for _, r := range q.runs {
		if r.ID == id {
			return r
		}
	}
	return nil
}

// owned finds a run under the caller's token.
func (q *Queue) owned(runID string, token int64) (*Run, error) {
	r := q.find(runID)
	if r == nil {
		return nil, errNotFound()
	}
	if token < 1 || r.Token != token {
		return nil, Failure(backendv1.ErrorReason_ERROR_REASON_FENCING_TOKEN_STALE, nil)
	}
	return r, nil
}

func errNotFound() error {
	return refusal(codes.NotFound, backendv1.ErrorReason_ERROR_REASON_NOT_FOUND, "no such run", nil)
}

func (q *Queue) session(id string) *session {
	s := q.sessions[id]
	if s == nil {
		s = &session{conversations: map[string]string{}}
		q.sessions[id] = s
	}
	return s
}

// busy tells whether a run of a session is active.
func (q *Queue) busy(sessionID string) bool {
	return slices.ContainsFunc(q.runs, func(r *Run) bool { return r.SessionID == sessionID && r.active() })
}

// claimable tells whether a worker may have the runs of a session now.
func (q *Queue) claimable(sessionID, worker string) bool {
	s := q.session(sessionID)
	return !s.deleted && !q.busy(sessionID) && (s.owner == "" || s.owner == worker || !q.heard[s.owner])
}

func (q *Queue) claim(r *Run, worker string) *queuev1.ClaimedRun {
	r.Token++
	r.Worker = worker
	s := q.session(r.SessionID)
	claim := &queuev1.ClaimedRun{
		Run: r.proto(), UserId: user, Prompt: r.Prompt, Config: r.Config, AgentSessionId: s.conversations[agents.Of(r.Config)], FencingToken: r.Token,
		NextRunSeq: r.acked() + 1, PromptSubmitted: r.Submitted, PromptOffered: r.Offered != 0,
		WorkspaceWorkerId: s.owner, SnapshotKey: s.snapshot,
	}
	if r.Offered != 0 {
		claim.ReportedMessageIds = r.messages()
	}
	return claim
}

func (q *Queue) command(worker string, cmd *queuev1.RunCommand) string {
	cmd.Id = uuid.NewString()
	q.commands = append(q.commands, command{worker, cmd})
	q.notify()
	return cmd.GetId()
}

func (c command) isFor(worker string) bool { return c.worker == "" || c.worker == worker }

// dropCommands drops what the worker of a run need not be told any more.
func (q *Queue) dropCommands(r *Run) {
	q.commands = slices.DeleteFunc(q.commands, func(c command) bool {
		return c.GetRunId() == r.ID && (c.GetCancel() != nil || c.GetAnswer() != nil)
	})
}

// cancel ends a queued run, or tells the worker of an active one to stop it.
func (q *Queue) cancel(r *Run, message string) string {
	switch r.Status {
	case queued:
		r.Status, r.Reason, r.Message = canceled, backendv1.RunReason_RUN_REASON_CANCELED, message
	case claimed, running:
		r.Status, r.CancelMessage = canceling, message
		return q.command(r.Worker, &queuev1.RunCommand{
			RunId: r.ID, SessionId: r.SessionID, UserId: user, Kind: &queuev1.RunCommand_Cancel{Cancel: &queuev1.CancelCommand{Reason: message}},
		})
	default: // it ends already
	}
	return ""
}

// requeue puts an active run back under a token that makes its worker's stale.
func (q *Queue) requeue(r *Run) {
	r.Status, r.Worker, r.Token = queued, "", r.Token+1
	q.dropCommands(r)
	q.hints++
}

// goOn queues a run again whose executor was lost.
func (q *Queue) goOn(r *Run) {
	r.Resumes++
	q.requeue(r)
}

// end ends an active run; a cancel that came before wins. Its workspace is due
// for export when the run may have changed it, or when it was due before.
func (q *Queue) end(r *Run, status backendv1.RunStatus, reason backendv1.RunReason, message string) {
	if r.Status == canceling {
		status, reason = canceled, backendv1.RunReason_RUN_REASON_CANCELED
		if r.CancelMessage != "" {
			message = r.CancelMessage
		}
	}
	r.Status, r.Reason, r.Message = status, reason, message
	q.dropCommands(r)
	if s := q.session(r.SessionID); !s.deleted && (r.Offered != 0 || s.export != "") {
		s.export = r.ID
	}
	q.hints++
}

// mayGoOn tells whether a run may go on without its executor.
func (q *Queue) mayGoOn(r *Run) bool {
	switch {
	case r.Status == canceling:
		return false
	case !r.Submitted || r.Status == claimed:
		return true
	default:
		return r.resumes() && q.session(r.SessionID).conversations[agents.Of(r.Config)] != ""
	}
}

func (r *Run) resumes() bool {
	return r.Resumes == 0 && r.Config.GetLostExecutorPolicy() == backendv1.LostExecutorPolicy_LOST_EXECUTOR_POLICY_RESUME
}

// goesOnAfter tells whether the run goes on whose attempt ended for a reason.
func (q *Queue) goesOnAfter(r *Run, reason backendv1.RunReason) bool {
	return (reason == backendv1.RunReason_RUN_REASON_EXECUTOR_LOST || reason == backendv1.RunReason_RUN_REASON_LEASE_LOST) && r.resumes() && q.mayGoOn(r)
}

// expire acts on a lease that ran out.
func (q *Queue) expire(r *Run) {
	switch {
	case !r.active():
	case q.mayGoOn(r) && r.Submitted && r.Status == running:
		q.goOn(r)
	case q.mayGoOn(r):
		q.requeue(r)
	default:
		q.end(r, failed, backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, "The executor manager was not heard of.")
		r.Token++
		q.session(r.SessionID).export = "" // anyone who has the workspace is gone
	}
}

// release puts a run back that no executor was given, as it was before its claim.
func (q *Queue) release(r *Run) {
	switch {
	case r.final():
		return
	case r.Status == canceling:
		q.end(r, canceled, backendv1.RunReason_RUN_REASON_CANCELED, "")
		r.Token++
		return
	case r.Offered == r.Attempt:
		r.Offered = 0
		if !slices.ContainsFunc(q.runs, func(o *Run) bool { return o.SessionID == r.SessionID && o.Offered != 0 }) {
			q.session(r.SessionID).owner = ""
		}
	}
	r.Attempt--
	q.requeue(r)
}

// store stores new events of a started run, with what follows from them.
func (q *Queue) store(r *Run, events []*executorv1.RunEvent) {
	for _, e := range events {
		if f := e.GetPayload().GetRunFinished(); f != nil && q.goesOnAfter(r, f.GetReason()) {
			q.goOn(r) // an attempt's end that is not the run's is no event
			return
		}
		r.Events = append(r.Events, e)
		if started := e.GetPayload().GetAgentStarted(); started != nil {
			r.Submitted = true
			if id := started.GetAgentSessionId(); id != "" {
				q.session(r.SessionID).conversations[cmp.Or(started.GetAgent(), agents.Claude)] = id
			}
		}
		if f := e.GetPayload().GetRunFinished(); f != nil {
			status, reason := f.GetStatus(), f.GetReason()
			if status < completed {
				status, reason = failed, backendv1.RunReason_RUN_REASON_AGENT_ERROR
			}
			q.end(r, status, reason, f.GetMessage())
		}
	}
}
