package runchannel

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	managerv1 "github.com/poco-ai/poco/gen/go/poco/manager/v1"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// Liveness of a channel.
const (
	pingInterval = 15 * time.Second
	// silenceLimit is when a channel without a sign of life is given up.
	silenceLimit = 4 * pingInterval
)

// Stream is the manager's side of a channel.
type Stream interface {
	Receive() (*managerv1.ConnectRequest, error)
	Send(*managerv1.ConnectResponse) error
}

// session is one channel of a link: what was said on it.
type session struct {
	// over is closed when the channel is no longer the link's.
	over chan struct{}
	// welcomed is false when the executor has to be told where to go on.
	welcomed     bool
	sentAck      int64
	sentLease    int
	sentCommands map[string]bool
	lastHeard    time.Time
}

// errSuperseded ends the older of two channels of a run.
var errSuperseded = rpcerror.Aborted(backendv1.ErrorReason_ERROR_REASON_CHANNEL_SUPERSEDED, "a newer channel of this run is open")

// serve runs one channel until it breaks, the link ends, or a newer one opens.
func (l *Link) serve(ctx context.Context, stream Stream) error {
	s := l.attach()
	defer l.detach(s)
	// The reader ends when this returns: the transport closes the stream.
	read := make(chan error, 1)
	go func() { read <- l.read(s, stream) }()

	ping := time.NewTicker(pingInterval)
	defer ping.Stop()
	for {
		out, last, changed := l.outgoing(s)
		for _, m := range out {
			if err := stream.Send(m); err != nil {
				return err
			}
		}
		if last {
			return l.farewell()
		}
		if len(out) > 0 {
			continue
		}
		select {
		case <-changed:
		case <-s.over:
			return errSuperseded
		case err := <-read:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ping.C:
			if l.silent(s) {
				return rpcerror.Unavailable(backendv1.ErrorReason_ERROR_REASON_CHANNEL_SILENT, "no sign of life from the executor")
			}
			if err := stream.Send(&managerv1.ConnectResponse{Kind: &managerv1.ConnectResponse_Ping{Ping: &managerv1.Ping{}}}); err != nil {
				return err
			}
		}
	}
}

// farewell is how the last channel ends: cleanly when all is said, as broken
// when the manager stops, so that the executor comes back.
func (l *Link) farewell() error {
	if l.End().Kind == EndClosed {
		return rpcerror.Unavailable(backendv1.ErrorReason_ERROR_REASON_MANAGER_STOPPING, "the manager let go of the run, try again")
	}
	return nil
}

// attach makes a new channel the link's and ends the older one.
func (l *Link) attach() *session {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current != nil {
		close(l.current.over)
	}
	s := &session{over: make(chan struct{}), sentCommands: make(map[string]bool), lastHeard: l.opts.Now()}
	l.current, l.connected = s, true
	l.skipping = false
	l.notify()
	return s
}

func (l *Link) detach(s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current != s {
		return
	}
	close(s.over)
	l.current, l.goneSince = nil, l.opts.Now()
	l.notify()
}

func (l *Link) silent(s *session) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.opts.Now().Sub(s.lastHeard) > silenceLimit
}

// outgoing collects what the executor has not been told on this channel. last
// says that nothing comes after it.
func (l *Link) outgoing(s *session) (out []*managerv1.ConnectResponse, last bool, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	changed = l.changed
	if l.current != s {
		return nil, false, changed
	}
	if l.end != nil && (l.end.Kind == EndRevoked || l.end.Kind == EndRefused) {
		return []*managerv1.ConnectResponse{{Kind: &managerv1.ConnectResponse_Revoked{Revoked: &managerv1.Revoked{Reason: l.end.Reason}}}}, true, changed
	}
	ttl := durationpb.New(max(0, l.leaseDeadline.Sub(l.opts.Now())))
	if !s.welcomed {
		s.welcomed, s.sentAck, s.sentLease = true, l.acked, l.leaseVersion
		out = append(out, &managerv1.ConnectResponse{Kind: &managerv1.ConnectResponse_Welcome{Welcome: &managerv1.Welcome{AckedRunSeq: l.acked, LeaseTtl: ttl}}})
	}
	if l.acked > s.sentAck {
		s.sentAck = l.acked
		out = append(out, &managerv1.ConnectResponse{Kind: &managerv1.ConnectResponse_Ack{Ack: &managerv1.Ack{RunSeq: l.acked}}})
	}
	if l.leaseVersion > s.sentLease {
		s.sentLease = l.leaseVersion
		out = append(out, &managerv1.ConnectResponse{Kind: &managerv1.ConnectResponse_LeaseRenewed{LeaseRenewed: &managerv1.LeaseRenewed{LeaseTtl: ttl}}})
	}
	for _, c := range l.commands {
		if !s.sentCommands[c.GetId()] {
			s.sentCommands[c.GetId()] = true
			out = append(out, &managerv1.ConnectResponse{Kind: &managerv1.ConnectResponse_Command{Command: c}})
		}
	}
	return out, l.end != nil, changed
}

// read takes in what the executor says until the channel ends.
func (l *Link) read(s *session, stream Stream) error {
	for {
		m, err := stream.Receive()
		if err != nil {
			return err
		}
		l.mu.Lock()
		s.lastHeard = l.opts.Now()
		l.mu.Unlock()
		switch kind := m.GetKind().(type) {
		case *managerv1.ConnectRequest_Events:
			for _, e := range kind.Events.GetEvents() {
				if !l.accept(s, e) {
					return nil
				}
			}
			l.acceptPartials(s, kind.Events.GetPartials())
		case *managerv1.ConnectRequest_CommandDone:
			l.commandDone(kind.CommandDone.GetCommandId())
		case *managerv1.ConnectRequest_Pong:
		case *managerv1.ConnectRequest_Hello:
			return rpcerror.InvalidArgument("hello", "comes once, first")
		}
	}
}

// accept takes one event in, waiting while the buffer is full: the executor
// feels it because its stream is not read. False when the channel is over.
func (l *Link) accept(s *session, e *executorv1.RunEvent) bool {
	for {
		l.mu.Lock()
		if l.current != s || l.end != nil {
			l.mu.Unlock()
			return false
		}
		seq := e.GetRunSeq()
		switch {
		case seq <= l.received: // a resend
			l.mu.Unlock()
			return true
		case seq > l.received+1:
			if !l.skipping {
				l.logger.Warn("executor left out events, asking it to resend", "run_seq", seq, "expected_run_seq", l.received+1)
				l.askToResend()
			}
			l.mu.Unlock()
			return true
		case len(l.events) < maxBufferedEvents && (l.bytes == 0 || l.bytes+proto.Size(e) <= maxBufferedBytes):
			l.skipping = false
			l.received = seq
			l.events = append(l.events, e)
			l.bytes += proto.Size(e)
			l.notify()
			l.mu.Unlock()
			return true
		}
		changed := l.changed
		l.mu.Unlock()
		<-changed
	}
}

func (l *Link) acceptPartials(s *session, partials []*backendv1.PartialContent) {
	if len(partials) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current != s || l.end != nil {
		return
	}
	for _, p := range partials {
		l.partials.add(p)
	}
	l.notify()
}

// commandDone takes note of a command that took effect. One that was not
// delivered yet, as after a restart, is done when it is. Others are not the
// executor's to settle.
func (l *Link) commandDone(id string) {
	l.mu.Lock()
	known := false
	for i, c := range l.commands {
		if c.GetId() == id {
			l.commands = append(l.commands[:i:i], l.commands[i+1:]...)
			known = true
			break
		}
	}
	if known || len(l.doneIDs) < maxDoneCommands {
		l.doneIDs[id] = true
	}
	l.mu.Unlock()
	if known {
		l.opts.CommandDone(id)
	}
}
