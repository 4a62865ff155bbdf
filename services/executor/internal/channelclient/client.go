// Package channelclient reports a run to the manager and is told things about it.
package channelclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	managerv1 "github.com/poco-ai/poco/gen/go/poco/manager/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/executor/internal/outbox"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/retry"
	"github.com/poco-ai/poco/services/internal/rpcerror"
	"github.com/poco-ai/poco/services/internal/version"
)

const (
	// welcomeTimeout bounds the wait for the manager's first word.
	welcomeTimeout = 20 * time.Second
	// silenceTimeout is when a channel without a sign of the manager is broken;
	// the manager pings every 15 seconds.
	silenceTimeout = 60 * time.Second
	// farewellTimeout bounds the clean end of a channel.
	farewellTimeout = 2 * time.Second
	retryFirst      = 50 * time.Millisecond
	retryMost       = 5 * time.Second
	// batchBytes is how much one message carries; it stays far below the 4 MiB
	// that gRPC takes.
	batchBytes = 1 << 20
)

// Run is the run that a channel speaks for.
type Run interface {
	// Renew moves the end of the lease, counted from now. It is also called on
	// each (re)connection.
	Renew(ttl time.Duration)
	// MayReport says whether events may be sent: not after the lease ran out,
	// until the manager said that it holds the run again.
	MayReport() bool
	// Command carries out a command and returns when it took effect, or never
	// can. It may be called again with the same command.
	Command(ctx context.Context, command *queuev1.RunCommand)
	// Revoked stops the agent: the run is no longer this executor's.
	Revoked(reason string)
}

// Options of a Client.
type Options struct {
	RunID  string
	Conn   grpc.ClientConnInterface
	Outbox *outbox.Outbox
	Run    Run
	Logger *slog.Logger
}

// Client keeps the channel open until everything is delivered.
type Client struct {
	opts Options

	mu sync.Mutex
	// done are the commands carried out, by id. They are few.
	done map[string]bool
	wg   sync.WaitGroup
}

// New returns a client; Serve runs it.
func New(opts Options) *Client {
	return &Client{opts: opts, done: map[string]bool{}}
}

// errOver ends a channel that has nothing more to say.
var errOver = errors.New("everything is delivered")

// revokedError ends the channel for good.
type revokedError struct{ reason string }

func (e *revokedError) Error() string { return "revoked: " + e.reason }

// Serve keeps a channel open, opening it again whenever it breaks, until the
// outbox is delivered, the run is revoked, or ctx ends.
func (c *Client) Serve(ctx context.Context) {
	defer c.wg.Wait()
	wait := retry.BackOff(retryFirst, retryMost)
	for {
		err := c.connect(ctx, wait.Reset)
		var revoked *revokedError
		switch {
		case errors.Is(err, errOver), ctx.Err() != nil:
			return
		case errors.As(err, &revoked):
			c.opts.Logger.WarnContext(ctx, "run revoked", "reason", revoked.reason)
			c.opts.Run.Revoked(revoked.reason)
			return
		}
		c.opts.Logger.DebugContext(ctx, "channel broken, opening it again", logging.KeyError, err)
		if !retry.Pause(ctx, wait.NextBackOff()) {
			return
		}
	}
}

// connection is one opened channel.
type connection struct {
	client *Client
	stream grpc.BidiStreamingClient[managerv1.ConnectRequest, managerv1.ConnectResponse]
	// ended is closed when nothing more is received; receiveErr then says why.
	ended      chan struct{}
	receiveErr error

	mu sync.Mutex
	// sent is the last event sent on this channel.
	sent     int64
	welcomed bool
	replies  []*managerv1.ConnectRequest
	wake     chan struct{}
}

// connect runs one channel until it breaks. welcomed is called when the
// manager has answered.
func (c *Client) connect(ctx context.Context, welcomed func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stream, err := managerv1.NewRunChannelServiceClient(c.opts.Conn).Connect(ctx)
	if err != nil {
		return judge(err)
	}
	_, acked := c.opts.Outbox.Position()
	if err := stream.Send(&managerv1.ConnectRequest{Kind: &managerv1.ConnectRequest_Hello{Hello: &managerv1.Hello{
		RunId: c.opts.RunID, AckedRunSeq: acked, ExecutorVersion: version.String(),
	}}}); err != nil && !errors.Is(err, io.EOF) {
		return judge(err)
	}
	conn := &connection{client: c, stream: stream, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	watchdog := time.AfterFunc(welcomeTimeout, func() { cancel(fmt.Errorf("no answer within %s", welcomeTimeout)) })
	defer watchdog.Stop()
	go func() {
		defer close(conn.ended)
		conn.receiveErr = conn.receive(ctx, func() {
			watchdog.Reset(silenceTimeout)
			welcomed()
		})
	}()
	sendErr := conn.send(ctx)
	if errors.Is(sendErr, errOver) {
		conn.farewell()
	}
	cancel(sendErr)
	<-conn.ended
	return sendErr
}

// farewell half-closes the channel and waits until the manager has read to the
// end, so that no last word is lost.
func (c *connection) farewell() {
	if c.stream.CloseSend() != nil {
		return
	}
	timer := time.NewTimer(farewellTimeout)
	defer timer.Stop()
	select {
	case <-c.ended:
	case <-timer.C:
	}
}

// judge tells what ends the channel for good from what may be tried again.
func judge(err error) error {
	if rpcerror.Reason(err) == backendv1.ErrorReason_ERROR_REASON_ATTEMPT_SUPERSEDED {
		return &revokedError{reason: status.Convert(err).Message()}
	}
	switch status.Code(err) {
	case codes.NotFound:
		return &revokedError{reason: "the manager does not hold the run"}
	case codes.Unauthenticated, codes.PermissionDenied:
		return &revokedError{reason: "the channel token is not valid: " + status.Convert(err).Message()}
	default:
		return err
	}
}

// receive reads until the channel ends. alive is called for each message.
func (c *connection) receive(ctx context.Context, alive func()) error {
	o := &c.client.opts
	for {
		m, err := c.stream.Recv()
		if err != nil {
			return judge(err)
		}
		alive()
		switch kind := m.GetKind().(type) {
		case *managerv1.ConnectResponse_Welcome:
			o.Run.Renew(kind.Welcome.GetLeaseTtl().AsDuration())
			o.Outbox.Ack(kind.Welcome.GetAckedRunSeq())
			c.mu.Lock()
			// A second welcome asks for everything after it again.
			c.sent, c.welcomed = kind.Welcome.GetAckedRunSeq(), true
			c.mu.Unlock()
			c.poke()
		case *managerv1.ConnectResponse_Ack:
			o.Outbox.Ack(kind.Ack.GetRunSeq())
		case *managerv1.ConnectResponse_LeaseRenewed:
			o.Run.Renew(kind.LeaseRenewed.GetLeaseTtl().AsDuration())
			c.poke()
		case *managerv1.ConnectResponse_Command:
			c.client.wg.Go(func() { c.carryOut(ctx, kind.Command) })
		case *managerv1.ConnectResponse_Revoked:
			return &revokedError{reason: kind.Revoked.GetReason()}
		case *managerv1.ConnectResponse_Ping:
			c.reply(&managerv1.ConnectRequest{Kind: &managerv1.ConnectRequest_Pong{Pong: &managerv1.Pong{}}})
		}
	}
}

// carryOut executes a command once and says so as often as it is asked.
func (c *connection) carryOut(ctx context.Context, command *queuev1.RunCommand) {
	client := c.client
	client.mu.Lock()
	done := client.done[command.GetId()]
	client.mu.Unlock()
	if !done {
		client.opts.Run.Command(ctx, command)
		client.mu.Lock()
		client.done[command.GetId()] = true
		client.mu.Unlock()
	}
	c.reply(&managerv1.ConnectRequest{Kind: &managerv1.ConnectRequest_CommandDone{
		CommandDone: &managerv1.CommandDone{CommandId: command.GetId()},
	}})
}

func (c *connection) reply(m *managerv1.ConnectRequest) {
	c.mu.Lock()
	c.replies = append(c.replies, m)
	c.mu.Unlock()
	c.poke()
}

func (c *connection) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// send writes events, partial text and replies until the channel ends. At most
// one batch of events is unacknowledged: while it is on its way, the next one
// grows, so that a busy run makes few, large transactions.
func (c *connection) send(ctx context.Context) error {
	box := c.client.opts.Outbox
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	for {
		changed := box.Changed()
		out, wait := c.outgoing()
		for _, m := range out {
			if err := c.stream.Send(m); err != nil {
				if errors.Is(err, io.EOF) {
					<-c.ended // It has the real reason.
					return c.receiveErr
				}
				return judge(err)
			}
		}
		if len(out) > 0 {
			continue
		}
		if c.idle() && box.Delivered() {
			return errOver
		}
		if wait > 0 {
			timer.Reset(wait)
		}
		select {
		case <-changed:
		case <-c.wake:
		case <-timer.C:
		case <-c.ended:
			if errors.Is(c.receiveErr, io.EOF) && box.Delivered() {
				return errOver
			}
			return c.receiveErr
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		timer.Stop()
	}
}

// idle says whether nothing waits to be said.
func (c *connection) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.replies) == 0
}

// outgoing collects what can be sent now. wait is when partial text is due.
func (c *connection) outgoing() (out []*managerv1.ConnectRequest, wait time.Duration) {
	o := &c.client.opts
	c.mu.Lock()
	defer c.mu.Unlock()
	out, c.replies = c.replies, nil
	if !c.welcomed || !o.Run.MayReport() {
		return out, 0
	}
	batch := &managerv1.EventBatch{}
	if _, acked := o.Outbox.Position(); acked >= c.sent {
		batch.Events = o.Outbox.After(c.sent, batchBytes)
		if n := len(batch.GetEvents()); n > 0 {
			c.sent = batch.GetEvents()[n-1].GetRunSeq()
		}
	}
	batch.Partials, wait = o.Outbox.TakePartials()
	if len(batch.GetEvents()) > 0 || len(batch.GetPartials()) > 0 {
		out = append(out, &managerv1.ConnectRequest{Kind: &managerv1.ConnectRequest_Events{Events: batch}})
	}
	return out, wait
}
