package runchannel

import (
	"context"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/retry"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// Timing of the calls to the backend.
const (
	// appendTimeout bounds one call; a call that hangs is made again.
	appendTimeout = 30 * time.Second
	retryFirst    = 50 * time.Millisecond
	retryMost     = 5 * time.Second
)

const (
	metadataExpected  = "expected_run_seq"
	revokedOtherOwner = "the run is no longer held by this manager"
)

// batch is one AppendRunEvents call.
type batch struct {
	events   []*executorv1.RunEvent
	partials []*backendv1.PartialContent
}

// forward is the only caller of AppendRunEvents for its run: one call at a
// time, and all that came in meanwhile goes with the next.
func (l *Link) forward() {
	wait := retry.BackOff(retryFirst, retryMost)
	for {
		b, ok := l.nextBatch()
		if !ok {
			return
		}
		ctx, cancel := context.WithTimeout(l.ctx, appendTimeout)
		resp, err := l.opts.Queue.AppendRunEvents(ctx, &queuev1.AppendRunEventsRequest{
			RunId: l.opts.RunID, FencingToken: l.opts.FencingToken, Events: b.events, Partials: b.partials,
		})
		cancel()
		if err == nil {
			wait.Reset()
			l.committed(resp)
			continue
		}
		if l.ctx.Err() != nil {
			return
		}
		switch l.judge(b, err) {
		case again:
			l.restore(b.partials)
			retry.Pause(l.ctx, wait.NextBackOff()) // a link that ends is found by nextBatch
		case goOn:
			wait.Reset()
		}
	}
}

// nextBatch waits for something to forward, and for the lease to be held. False
// when the link has ended.
func (l *Link) nextBatch() (batch, bool) {
	for {
		l.mu.Lock()
		if l.end != nil {
			l.mu.Unlock()
			return batch{}, false
		}
		if l.held() && (len(l.events) > 0 || len(l.partials.list) > 0) {
			b := batch{events: l.firstEvents()}
			if len(b.events) == len(l.events) {
				b.partials = l.partials.take()
			}
			l.mu.Unlock()
			return b, true
		}
		changed := l.changed
		l.mu.Unlock()
		<-changed
	}
}

// firstEvents returns as many of the oldest events as fit a call, at least
// one. The lock is held; what it returns is not changed any more.
func (l *Link) firstEvents() []*executorv1.RunEvent {
	n, bytes := 0, 0
	for _, e := range l.events[:min(len(l.events), maxBatchEvents)] {
		bytes += proto.Size(e)
		if n > 0 && bytes > maxBatchBytes {
			break
		}
		n++
	}
	return l.events[:n:n]
}

// committed takes in what the backend has stored.
func (l *Link) committed(resp *queuev1.AppendRunEventsResponse) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ackLocked(resp.GetAckedRunSeq())
	if Final(resp.GetStatus()) {
		l.finishLocked(End{Kind: EndFinal, Status: resp.GetStatus()})
	}
	l.notify()
}

func (l *Link) ackLocked(seq int64) {
	if seq <= l.acked {
		return
	}
	l.acked = seq
	l.received = max(l.received, seq)
	n := 0
	for n < len(l.events) && l.events[n].GetRunSeq() <= seq {
		l.bytes -= proto.Size(l.events[n])
		n++
	}
	l.events = l.events[n:]
	if len(l.events) == 0 {
		l.events = nil // lets go of the array
	}
}

// Final tells whether a run in this state never changes again.
func Final(s backendv1.RunStatus) bool {
	return s == backendv1.RunStatus_RUN_STATUS_COMPLETED || s == backendv1.RunStatus_RUN_STATUS_FAILED ||
		s == backendv1.RunStatus_RUN_STATUS_CANCELED
}

type verdict int

const (
	again verdict = iota // wait and call again
	goOn                 // something changed, go on at once
)

// judge decides what a failed call means.
func (l *Link) judge(b batch, err error) verdict {
	reason := rpcerror.Reason(err)
	code := status.Code(err)
	switch {
	case reason == backendv1.ErrorReason_ERROR_REASON_FENCING_TOKEN_STALE || code == codes.NotFound:
		l.logger.Warn("run lost to another manager or to its lease", logging.KeyError, err)
		l.finish(End{Kind: EndRevoked, Reason: revokedOtherOwner})
		return goOn
	case reason == backendv1.ErrorReason_ERROR_REASON_RUN_FINISHED:
		// The backend ended the run itself; nothing the executor says changes it.
		l.finish(End{Kind: EndFinal, Reason: err.Error()})
		return goOn
	case reason == backendv1.ErrorReason_ERROR_REASON_RUN_SEQ_GAP:
		expected, parseErr := strconv.ParseInt(rpcerror.Metadata(err)[metadataExpected], 10, 64)
		if parseErr != nil || expected < 1 {
			l.finish(End{Kind: EndRefused, Reason: "the backend reports a gap in the events without saying where: " + err.Error()})
			return goOn
		}
		l.logger.Warn("gap in the events, asking the executor to resend", "expected_run_seq", expected)
		l.resetTo(expected - 1)
		return goOn
	case len(b.events) == 0:
		return goOn // partial text only: dropped
	case code == codes.InvalidArgument || code == codes.OutOfRange || code == codes.FailedPrecondition || code == codes.ResourceExhausted:
		l.logger.Error("backend refuses an event", "first_run_seq", b.events[0].GetRunSeq(), logging.KeyError, err)
		l.finish(End{Kind: EndRefused, Reason: "the backend refuses what the executor reported: " + status.Convert(err).Message()})
		return goOn
	default:
		l.logger.Warn("events cannot be delivered, trying again", logging.KeyError, err)
		return again
	}
}

// resetTo goes back to the last committed event; the executor resends the rest.
func (l *Link) resetTo(acked int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked, l.received = acked, acked
	l.events, l.bytes = nil, 0
	l.askToResend()
}

// askToResend sends a new Welcome and drops events until it had effect. The
// lock is held.
func (l *Link) askToResend() {
	if l.current != nil {
		l.current.welcomed = false
		l.skipping = true
	}
	l.notify()
}

// restore puts text back that a failed call carried.
func (l *Link) restore(partials []*backendv1.PartialContent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	newer := l.partials.take()
	for _, p := range append(partials, newer...) {
		l.partials.add(p)
	}
}
