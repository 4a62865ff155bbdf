package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"slices"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/internal/journal"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/rpcerror"
	"github.com/poco-ai/poco/services/manager/internal/identity"
	"github.com/poco-ai/poco/services/manager/internal/runchannel"
	"github.com/poco-ai/poco/services/manager/internal/safefs"
	"github.com/poco-ai/poco/services/manager/internal/workspace"
)

const (
	// Bounds of one call with recovered events, as channels have them.
	recoverEvents = 1000
	recoverBytes  = 2 << 20
	// noticeEventsLost tells what nobody can deliver any more.
	noticeEventsLost = "events_lost"
	lostDamaged      = "The record of what an executor that is gone had not delivered is damaged: some of what the agent did is not shown."
	lostMissing      = "The executor of the attempt before has left no record of what it had not delivered: some of what the agent did may not be shown."
)

// left is a journal that an executor has left behind.
type left struct {
	identity.Attempt
	name string
}

// leftovers lists the journals in a session's state, by attempt.
func leftovers(state *os.Root) ([]left, error) {
	entries, err := fs.ReadDir(state.FS(), journal.DirName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found []left
	for _, e := range entries {
		if run, attempt, ok := journal.Parse(e.Name()); ok {
			found = append(found, left{identity.Attempt{RunID: run, Number: attempt}, path.Join(journal.DirName, e.Name())})
		}
	}
	slices.SortFunc(found, func(a, b left) int { return int(a.Number - b.Number) })
	return found, nil
}

// deliver passes the events of a journal on in batches, those from number next
// on. It returns the number that comes after them. Its error is ErrDamaged when
// what follows is lost, or what append said.
func (w *Worker) deliver(state *os.Root, l left, next int64, keep func(*executorv1.RunEvent) bool, appendAll func([]*executorv1.RunEvent) error) (int64, error) {
	file, _, err := safefs.OpenRegular(state, l.name)
	if err != nil || file == nil {
		return next, err
	}
	defer file.Close()
	r := journal.NewReader(file, journal.KeyOf(w.opts.Identity.ChannelToken(l.Attempt)))
	var batch []*executorv1.RunEvent
	bytes := 0
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := appendAll(batch)
		batch, bytes = nil, 0
		return err
	}
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return next, flush()
		}
		switch {
		case err != nil:
			return next, errors.Join(flush(), err)
		case e.GetRunSeq() < next || !keep(e):
			continue
		case e.GetRunSeq() > next:
			return next, errors.Join(flush(), fmt.Errorf("%w: event %d is missing", journal.ErrDamaged, next))
		}
		if size := proto.Size(e); len(batch) == recoverEvents || bytes+size > recoverBytes {
			if err := flush(); err != nil {
				return next, err
			}
		}
		batch, bytes, next = append(batch, e), bytes+proto.Size(e), next+1
	}
}

// ownWords tells whether an event is more than how an executor took its end:
// what a lost attempt says about its own loss is not how the run ends.
func ownWords(e *executorv1.RunEvent) bool {
	f := e.GetPayload().GetRunFinished()
	return f == nil || f.GetReason() != backendv1.RunReason_RUN_REASON_LEASE_LOST && f.GetReason() != backendv1.RunReason_RUN_REASON_EXECUTOR_LOST
}

func anything(*executorv1.RunEvent) bool { return true }

// recover delivers what the executors of the run's attempts up to one have left
// behind, before anything new. It moves the number of the next event. What
// cannot be delivered is told in a notice.
func (r *heldRun) recover(ctx context.Context, upTo int32) error {
	state, err := r.w.opts.Workspaces.OpenState(r.userID, r.sessionID)
	if errors.Is(err, workspace.ErrMissing) {
		return nil
	}
	if err != nil {
		return err
	}
	defer closeState(state, r.logger)
	all, err := leftovers(state)
	if err != nil {
		return err
	}
	known := false
	for _, l := range all {
		if l.RunID != r.id || l.Number > upTo {
			continue
		}
		known = true
		keep := ownWords
		if l.Number == r.attempt().Number {
			keep = anything
		}
		if err := r.recoverFrom(ctx, state, l, keep); err != nil {
			return err
		}
	}
	// An executor keeps a journal until the end of its run is delivered.
	if !known && upTo > 0 && r.claim.GetPromptSubmitted() {
		return r.tellLost(ctx, lostMissing)
	}
	return nil
}

func (r *heldRun) recoverFrom(ctx context.Context, state *os.Root, l left, keep func(*executorv1.RunEvent) bool) error {
	first := max(1, r.claim.GetNextRunSeq())
	next, err := r.w.deliver(state, l, first, keep, func(events []*executorv1.RunEvent) error {
		return r.append(ctx, l.Number, events)
	})
	r.moveTo(next)
	if next > first {
		r.logger.Info("events of an executor that is gone delivered", "attempt", l.Number, "events", next-first)
	}
	if errors.Is(err, journal.ErrDamaged) {
		r.logger.Warn("the record of an executor that is gone is damaged", "attempt", l.Number, logging.KeyError, err)
		err = r.tellLost(ctx, lostDamaged)
	}
	if err != nil {
		return err
	}
	return empty(state, l.name)
}

// empty leaves a journal without events: that it is there tells that nothing is
// missing.
func empty(state *os.Root, name string) error {
	file, err := state.OpenFile(name, os.O_WRONLY|os.O_TRUNC|syscall.O_NONBLOCK, 0)
	if err != nil {
		return ignoreMissing(err)
	}
	return file.Close()
}

// moveTo sets the number of the run's next event.
func (r *heldRun) moveTo(next int64) {
	r.claim.NextRunSeq = next
	r.link.Recovered(next - 1)
}

// append stores recovered events of the held run.
func (r *heldRun) append(ctx context.Context, attempt int32, events []*executorv1.RunEvent) error {
	resp, err := callUntilAnswered(ctx, func(ctx context.Context) (*queuev1.AppendRunEventsResponse, error) {
		if !r.w.now().Before(r.link.LeaseDeadline()) {
			return nil, errReleased
		}
		return r.w.opts.Queue.AppendRunEvents(ctx, &queuev1.AppendRunEventsRequest{
			RunId: r.id, FencingToken: r.claim.GetFencingToken(), Attempt: attempt, Events: events,
		})
	})
	if err != nil {
		return err
	}
	for _, e := range events {
		if started := e.GetPayload().GetAgentStarted(); started != nil {
			r.claim.PromptSubmitted, r.claim.AgentSessionId = true, started.GetAgentSessionId()
		}
		if added := e.GetPayload().GetMessageAdded(); added != nil {
			r.claim.ReportedMessageIds = append(r.claim.ReportedMessageIds, added.GetMessageId())
			r.claim.LatestMessages = append(r.claim.LatestMessages, added.GetVerbatimJson())
		}
	}
	if runchannel.Final(resp.GetStatus()) {
		r.link.Finalize(resp.GetStatus())
	}
	return nil
}

func (r *heldRun) tellLost(ctx context.Context, text string) error {
	next := max(1, r.claim.GetNextRunSeq())
	err := r.append(ctx, r.attempt().Number, []*executorv1.RunEvent{lostNotice(next, text)})
	if err == nil {
		r.moveTo(next + 1)
	}
	return err
}

func lostNotice(seq int64, text string) *executorv1.RunEvent {
	return &executorv1.RunEvent{RunSeq: seq, Payload: &executorv1.RunEventPayload{
		Kind: &executorv1.RunEventPayload_Notice{Notice: &backendv1.Notice{
			Level: backendv1.Notice_LEVEL_WARNING, Code: noticeEventsLost, Text: text,
		}},
	}}
}

// recoverBefore does so for the attempts before this one. It ends the run that
// had ended before, and one whose agent turns out to have had the prompt, unless
// its policy says that it goes on.
func (r *heldRun) recoverBefore(ctx context.Context) (outcome, bool) {
	submitted := r.claim.GetPromptSubmitted()
	err := r.recover(ctx, r.attempt().Number-1)
	select {
	case <-r.link.Done():
		return r.linkEnded(), false
	default:
	}
	switch {
	case notOurs(err):
		return outcome{kind: outcomeLost, message: err.Error()}, false
	case err != nil && ctx.Err() == nil:
		r.logger.Warn("events of the attempt before are not all delivered", logging.KeyError, err)
	}
	if !submitted && r.claim.GetPromptSubmitted() &&
		r.claim.GetConfig().GetLostExecutorPolicy() != backendv1.LostExecutorPolicy_LOST_EXECUTOR_POLICY_RESUME {
		return failed(backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, "The executor was lost while the agent worked. Send the prompt again to go on."), false
	}
	return outcome{}, true
}

// wasBegun tells whether an executor has got this attempt: it has a journal of it
// from then on.
func (r *heldRun) wasBegun() bool {
	state, err := r.w.opts.Workspaces.OpenState(r.userID, r.sessionID)
	if err != nil {
		return false
	}
	defer closeState(state, r.logger)
	_, err = state.Lstat(path.Join(journal.DirName, journal.Name(r.id, r.attempt().Number)))
	return err == nil
}

// recoverGone does so for this attempt, whose executor is gone. True when that
// ends the run.
func (r *heldRun) recoverGone(ctx context.Context) bool {
	r.claim.NextRunSeq = r.link.Acked() + 1
	if err := r.recover(ctx, r.attempt().Number); err != nil {
		r.logger.Warn("events of the executor that is gone are not all delivered", logging.KeyError, err)
	}
	select {
	case <-r.link.Done():
		return true
	default:
		return false
	}
}

// recoverEnded delivers what is left of a session's runs that have ended without
// their executors, which must be gone. A run that goes on keeps its own; over is
// one that is held and does not.
func (w *Worker) recoverEnded(ctx context.Context, userID, sessionID string, over *heldRun, logger *slog.Logger) {
	state, err := w.opts.Workspaces.OpenState(userID, sessionID)
	if errors.Is(err, workspace.ErrMissing) {
		return
	}
	if err == nil {
		defer closeState(state, logger)
		err = w.recoverAll(ctx, state, over)
	}
	if err != nil {
		logger.Warn("events of executors that are gone are not all delivered", logging.KeyError, err)
	}
}

func (w *Worker) recoverAll(ctx context.Context, state *os.Root, over *heldRun) error {
	all, err := leftovers(state)
	if err != nil {
		return err
	}
	var errs []error
	for _, l := range all {
		if held := w.held(l.RunID); held != nil && held != over {
			continue
		}
		err := w.recoverRun(ctx, state, l)
		if rpcerror.Reason(err) == backendv1.ErrorReason_ERROR_REASON_RUN_NOT_FINISHED {
			continue // its next attempt does it
		}
		errs = append(errs, err)
		if code := status.Code(err); err == nil || code == codes.NotFound || code == codes.FailedPrecondition {
			errs = append(errs, ignoreMissing(state.Remove(l.name)))
		}
	}
	return errors.Join(errs...)
}

// recoverRun delivers a journal of a run that has ended.
func (w *Worker) recoverRun(ctx context.Context, state *os.Root, l left) error {
	appendAll := func(events []*executorv1.RunEvent) (*queuev1.RecoverRunEventsResponse, error) {
		return callUntilAnswered(ctx, func(ctx context.Context) (*queuev1.RecoverRunEventsResponse, error) {
			return w.opts.Queue.RecoverRunEvents(ctx, &queuev1.RecoverRunEventsRequest{
				WorkerId: w.opts.Identity.WorkerID, RunId: l.RunID, Attempt: l.Number, Events: events,
			})
		})
	}
	known, err := appendAll(nil)
	if err != nil {
		return err
	}
	next, err := w.deliver(state, l, known.GetAckedRunSeq()+1, anything, func(events []*executorv1.RunEvent) error {
		_, err := appendAll(events)
		return err
	})
	if errors.Is(err, journal.ErrDamaged) {
		_, err = appendAll([]*executorv1.RunEvent{lostNotice(next, lostDamaged)})
	}
	return err
}

func closeState(state *os.Root, logger *slog.Logger) {
	if err := state.Close(); err != nil {
		logger.Debug("state folder did not close", logging.KeyError, err)
	}
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
