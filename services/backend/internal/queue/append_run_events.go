package queue

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/poco-ai/poco/db/dbtype"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/internal/rpcerror"
	"github.com/poco-ai/poco/services/internal/sanitize"
)

// Ack is the answer to Append: everything up to Seq is committed.
type Ack struct {
	Seq    int64
	Status backendv1.RunStatus
}

// Append stores a batch of a run's events, each exactly once, with everything
// that is derived from them, in one transaction. Events that are already stored
// are acknowledged again, also after the run has ended. Text being written goes
// to live watchers once the batch is committed. The events are of an attempt,
// 0 for the one under way.
func (q *Queue) Append(ctx context.Context, runID string, token int64, attempt int32, events []*executorv1.RunEvent, partials []*backendv1.PartialContent) (Ack, error) {
	if err := checkBatch(events); err != nil {
		return Ack{}, err
	}
	for _, e := range events {
		sanitize.Event(e.GetPayload())
	}
	var ack Ack
	var sessionID string
	var active bool
	err := q.change(ctx, runID, token, func(ctx context.Context, s *store.Session, r *store.Run) error {
		sessionID = s.ID
		err := q.appendNew(ctx, s, r, attempt, events)
		ack = Ack{Seq: r.LastRunSeq, Status: store.RunStatus(r.Status)}
		active = !r.Status.Final()
		return err
	})
	if err != nil {
		return Ack{}, err
	}
	if active && len(partials) > 0 {
		for _, p := range partials {
			p.RunId = runID
			sanitize.Message(p)
		}
		q.bus.PublishPartials(sessionID, partials)
	}
	return ack, nil
}

// checkBatch refuses what no executor sends: numbers that are not contiguous,
// events after the end.
func checkBatch(events []*executorv1.RunEvent) error {
	for i, e := range events {
		field := fmt.Sprintf("events[%d]", i)
		switch {
		case e.GetRunSeq() < 1:
			return rpcerror.InvalidArgument(field+".run_seq", "must be at least 1")
		case i > 0 && e.GetRunSeq() != events[i-1].GetRunSeq()+1:
			return rpcerror.InvalidArgument(field+".run_seq", "must follow the number of the event before it")
		case e.GetPayload() == nil:
			return rpcerror.InvalidArgument(field+".payload", "is required")
		case i < len(events)-1 && e.GetPayload().GetRunFinished() != nil:
			return rpcerror.InvalidArgument(field, "is the end of the run and must be the last event")
		}
	}
	return nil
}

// appendNew appends what is new in a batch to a locked run.
func (q *Queue) appendNew(ctx context.Context, s *store.Session, r *store.Run, attempt int32, events []*executorv1.RunEvent) error {
	events = newOf(r, events)
	if len(events) == 0 {
		return nil
	}
	switch {
	case r.Status.Final():
		return rpcerror.FailedPrecondition(backendv1.ErrorReason_ERROR_REASON_RUN_FINISHED, "the run has ended, nothing can follow", map[string]string{
			"acked_run_seq": strconv.FormatInt(r.LastRunSeq, 10),
		})
	case r.Status == dbtype.RunClaimed:
		return rpcerror.FailedPrecondition(backendv1.ErrorReason_ERROR_REASON_RUN_NOT_STARTED, "the run has not been started", nil)
	case events[0].GetRunSeq() != r.LastRunSeq+1:
		return gap(r)
	}
	p := projection{session: s, run: r, attempt: cmp.Or(attempt, r.Attempt), inputTimeout: q.timing.UserInput, sweepBy: q.SweepBy}
	for _, e := range events {
		if err := p.apply(ctx, e); err != nil {
			return err
		}
	}
	return p.finish(ctx)
}

// newOf are the events that are not stored.
func newOf(r *store.Run, events []*executorv1.RunEvent) []*executorv1.RunEvent {
	for len(events) > 0 && events[0].GetRunSeq() <= r.LastRunSeq {
		events = events[1:]
	}
	return events
}

func gap(r *store.Run) error {
	return rpcerror.FailedPrecondition(backendv1.ErrorReason_ERROR_REASON_RUN_SEQ_GAP, "an event is missing before this batch", map[string]string{
		"expected_run_seq": strconv.FormatInt(r.LastRunSeq+1, 10),
	})
}

// occurredAt is when an event happened: by the executor's clock where it gives a
// time that can be stored.
func occurredAt(e *executorv1.RunEvent) time.Time {
	if t := e.GetOccurredAt(); t.IsValid() && t.GetSeconds() > 0 {
		return t.AsTime().Truncate(time.Microsecond)
	}
	return store.Now()
}

// AppendRunEvents implements RunQueueService.
func (q *Queue) AppendRunEvents(ctx context.Context, req *queuev1.AppendRunEventsRequest) (*queuev1.AppendRunEventsResponse, error) {
	ack, err := q.Append(ctx, req.GetRunId(), req.GetFencingToken(), req.GetAttempt(), req.GetEvents(), req.GetPartials())
	if err != nil {
		return nil, err
	}
	return &queuev1.AppendRunEventsResponse{AckedRunSeq: ack.Seq, Status: ack.Status}, nil
}
