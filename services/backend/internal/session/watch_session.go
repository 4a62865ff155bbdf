package session

import (
	"context"
	"errors"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/gen/go/poco/backend/v1/backendv1connect"
	"github.com/poco-ai/poco/services/backend/internal/watch"
	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// errDone ends a stream that has nothing more to say.
var errDone = errors.New("all sent")

// sessionWatch is one stream.
type sessionWatch struct {
	service      *Service
	feed         *watch.Feed
	id           string
	send         func(*backendv1.WatchSessionResponse) error
	cursor       int64
	partial      int64
	caughtUpAt   int64 // the last event when the watch began
	caughtUp     bool
	stopWhenIdle bool
	verbatim     bool
	sent         bool
	// checkIdle is set when the session may have become idle.
	checkIdle bool
}

// WatchSession streams a session from a cursor on.
func (s *Service) WatchSession(ctx context.Context, req *backendv1.WatchSessionRequest, stream backendv1connect.SessionServiceWatchSessionServerStream) error {
	return s.Watch(ctx, auth.User(ctx), req, stream.Send)
}

// Watch streams a user's session after a cursor until ctx is done, or, with
// stop_when_idle, until there is nothing more to expect.
func (s *Service) Watch(ctx context.Context, userID string, req *backendv1.WatchSessionRequest, send func(*backendv1.WatchSessionResponse) error) error {
	row, err := s.store.OwnedSession(ctx, userID, req.GetSessionId())
	if err != nil {
		return err
	}
	if req.GetAfterSeq() > row.LastSeq {
		return rpcerror.OutOfRange(backendv1.ErrorReason_ERROR_REASON_CURSOR_AHEAD, "after_seq is ahead of the session's last event",
			map[string]string{"last_seq": strconv.FormatInt(row.LastSeq, 10)})
	}
	feed, leave := s.feeds.Join(row.ID, row.LastSeq)
	defer leave()
	feed.Want(row.LastSeq)
	w := &sessionWatch{
		service: s, feed: feed, id: row.ID, send: send, cursor: req.GetAfterSeq(), partial: feed.PartialEnd(),
		caughtUpAt: row.LastSeq, stopWhenIdle: req.GetStopWhenIdle(), verbatim: req.GetIncludeVerbatim(), checkIdle: true,
	}
	err = w.run(ctx)
	if errors.Is(err, errDone) {
		return nil
	}
	return err
}

func (w *sessionWatch) run(ctx context.Context) error {
	silence := time.NewTimer(w.service.Heartbeat)
	defer silence.Stop()
	for {
		changed := w.feed.Changed()
		w.sent = false
		if err := w.step(ctx); err != nil {
			return err
		}
		if w.sent {
			silence.Reset(w.service.Heartbeat)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		case <-silence.C:
			silence.Reset(w.service.Heartbeat)
			err := w.emit(&backendv1.WatchSessionResponse{Kind: &backendv1.WatchSessionResponse_Heartbeat{
				Heartbeat: heartbeat(),
			}})
			if err != nil {
				return err
			}
			w.checkIdle = true // also without an event: time may have passed
		}
	}
}

// step sends all there is.
func (w *sessionWatch) step(ctx context.Context) error {
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		v := w.feed.After(w.cursor, w.partial)
		if v.Behind {
			events, err := w.service.feeds.Read(ctx, w.id, w.cursor)
			if err != nil {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				return rpcerror.Unavailable(backendv1.ErrorReason_ERROR_REASON_DATABASE_UNAVAILABLE, "the events cannot be read now; watch again").WithCause(err)
			}
			if err := w.sendEvents(events); err != nil {
				return err
			}
			if len(events) > 0 {
				continue
			}
		}
		if err := w.sendEvents(v.Events); err != nil {
			return err
		}
		if err := w.mayCatchUp(); err != nil {
			return err
		}
		for _, p := range v.Partials {
			if err := w.emit(&backendv1.WatchSessionResponse{Kind: &backendv1.WatchSessionResponse_Partial{Partial: p}}); err != nil {
				return err
			}
		}
		w.partial = v.NextPartial
		if v.Deleted {
			return rpcerror.NotFound("session", w.id)
		}
		return w.mayEnd(ctx)
	}
}

func (w *sessionWatch) sendEvents(events []*backendv1.SessionEvent) error {
	for _, e := range events {
		if !w.verbatim {
			e = withoutVerbatim(e)
		}
		if err := w.emit(&backendv1.WatchSessionResponse{Kind: &backendv1.WatchSessionResponse_Event{Event: e}}); err != nil {
			return err
		}
		w.cursor = e.GetSeq()
		switch e.GetPayload().GetKind().(type) {
		case *backendv1.EventPayload_RunStatusChanged, *backendv1.EventPayload_ExportChanged:
			w.checkIdle = true
		}
		if err := w.mayCatchUp(); err != nil {
			return err
		}
	}
	return nil
}

// withoutVerbatim returns an event without its message as the agent sent it, which
// is as long again as the blocks. The event itself is other watchers' as well and
// stays as it is.
func withoutVerbatim(e *backendv1.SessionEvent) *backendv1.SessionEvent {
	m := e.GetPayload().GetMessageAdded()
	if m.GetVerbatimJson() == "" {
		return e
	}
	return &backendv1.SessionEvent{
		Seq: e.GetSeq(), RunId: e.GetRunId(), RunSeq: e.GetRunSeq(), OccurredAt: e.GetOccurredAt(),
		Payload: &backendv1.EventPayload{Kind: &backendv1.EventPayload_MessageAdded{MessageAdded: &backendv1.MessageAdded{
			MessageId: m.GetMessageId(), Role: m.GetRole(), Blocks: m.GetBlocks(), ParentToolUseId: m.GetParentToolUseId(),
		}}},
	}
}

// mayCatchUp marks the end of what was stored when the watch began.
func (w *sessionWatch) mayCatchUp() error {
	if w.caughtUp || w.cursor < w.caughtUpAt {
		return nil
	}
	w.caughtUp = true
	return w.emit(&backendv1.WatchSessionResponse{Kind: &backendv1.WatchSessionResponse_CaughtUp{
		CaughtUp: &backendv1.CaughtUp{Seq: w.cursor},
	}})
}

// mayEnd returns errDone when the stream was to stop and nothing is to come.
func (w *sessionWatch) mayEnd(ctx context.Context) error {
	if !w.stopWhenIdle || !w.caughtUp || !w.checkIdle {
		return nil
	}
	row, err := w.service.store.Read().SessionIsIdle(ctx, w.id)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return rpcerror.Unavailable(backendv1.ErrorReason_ERROR_REASON_DATABASE_UNAVAILABLE, "the session cannot be read now; watch again").WithCause(err)
	}
	if row.LastSeq > w.cursor {
		w.feed.Want(row.LastSeq) // the event that comes asks again
		return nil
	}
	w.checkIdle = false
	if row.Idle {
		return errDone
	}
	return nil
}

func (w *sessionWatch) emit(m *backendv1.WatchSessionResponse) error {
	w.sent = true
	return w.send(m)
}

// heartbeat says that a stream is alive.
func heartbeat() *backendv1.Heartbeat { return &backendv1.Heartbeat{Time: timestamppb.Now()} }
