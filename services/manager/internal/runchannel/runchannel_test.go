package runchannel_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectinprocess"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	managerv1 "github.com/poco-ai/poco/gen/go/poco/manager/v1"
	"github.com/poco-ai/poco/gen/go/poco/manager/v1/managerv1connect"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/internal/rpcerror"
	"github.com/poco-ai/poco/services/manager/internal/identity"
	"github.com/poco-ai/poco/services/manager/internal/queuetest"
	"github.com/poco-ai/poco/services/manager/internal/runchannel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a monotonic clock that a test can move.
type clock struct {
	mu     sync.Mutex
	offset time.Duration
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.offset)
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
}

const lease = time.Minute

// fixture is one held run, its channels and its queue.
type fixture struct {
	t        *testing.T
	queue    *queuetest.Queue
	clock    *clock
	channels *runchannel.Registry
	link     *runchannel.Link
	runID    string
	client   managerv1connect.RunChannelServiceClient
	done     chan string
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{t: t, queue: queuetest.New(), clock: &clock{}, done: make(chan string, 10)}
	f.runID = f.queue.Enqueue(uuid.NewString(), "hello", nil)
	claims, err := f.queue.ClaimRuns(t.Context(), &queuev1.ClaimRunsRequest{WorkerId: "w", MaxRuns: 1, LeaseDuration: durationpb.New(lease)})
	require.NoError(t, err)
	token := claims.GetRuns()[0].GetFencingToken()
	_, err = f.queue.StartRun(t.Context(), &queuev1.StartRunRequest{RunId: f.runID, FencingToken: token})
	require.NoError(t, err)
	f.channels = runchannel.NewRegistry(func(token string) (identity.Attempt, error) {
		id, ok := strings.CutPrefix(token, "token-of-")
		id, earlier := strings.CutSuffix(id, "-before")
		if !ok {
			return identity.Attempt{}, errors.New("bad token")
		}
		if earlier {
			return identity.Attempt{RunID: id, Number: 1}, nil
		}
		return identity.Attempt{RunID: id, Number: 2}, nil
	})
	f.channels.Open()
	f.link = runchannel.NewLink(runchannel.LinkOptions{
		RunID: f.runID, Attempt: 2, FencingToken: token, LeaseDeadline: f.clock.Now().Add(lease),
		Queue: f.queue, Now: f.clock.Now, Logger: slog.New(slog.DiscardHandler), CommandDone: func(id string) { f.done <- id },
	})
	f.channels.Add(f.link)
	t.Cleanup(f.link.Close)
	server := connect.NewServer(rpcerror.Interceptor(slog.New(slog.DiscardHandler)), f.channels.Interceptor())
	managerv1connect.RegisterRunChannelServiceHandler(server, f.channels)
	f.client = managerv1connect.NewRunChannelServiceClient(connect.NewClient(connectinprocess.New(server)))
	return f
}

// peer is a scripted executor's side of one channel.
type peer struct {
	t      *testing.T
	stream managerv1connect.RunChannelServiceConnectClientStream
}

func (f *fixture) dial(token string) *peer {
	ctx, info := connect.NewClientContext(f.t.Context())
	if token != "" {
		info.RequestHeader().Set("Authorization", "Bearer "+token)
	}
	stream, err := f.client.Connect(ctx)
	require.NoError(f.t, err)
	f.t.Cleanup(func() { _ = stream.Close() })
	return &peer{t: f.t, stream: stream}
}

func (f *fixture) connect() (*peer, *managerv1.Welcome) {
	p := f.dial("token-of-" + f.runID)
	p.hello(f.runID)
	welcome := p.receive().GetWelcome()
	require.NotNil(f.t, welcome)
	return p, welcome
}

func (p *peer) hello(runID string) {
	require.NoError(p.t, p.stream.Send(&managerv1.ConnectRequest{Kind: &managerv1.ConnectRequest_Hello{Hello: &managerv1.Hello{RunId: runID}}}))
}

func (p *peer) receive() *managerv1.ConnectResponse {
	m, err := p.stream.Receive()
	require.NoError(p.t, err)
	return m
}

// end returns the error the channel ends with.
func (p *peer) end() error {
	for {
		if _, err := p.stream.Receive(); err != nil {
			return err
		}
	}
}

// awaitAck receives until everything up to seq is acknowledged.
func (p *peer) awaitAck(seq int64) {
	for {
		if ack := p.receive().GetAck(); ack != nil && ack.GetRunSeq() >= seq {
			require.Equal(p.t, seq, ack.GetRunSeq())
			return
		}
	}
}

func (p *peer) send(events ...*executorv1.RunEvent) {
	require.NoError(p.t, p.stream.Send(&managerv1.ConnectRequest{Kind: &managerv1.ConnectRequest_Events{Events: &managerv1.EventBatch{Events: events}}}))
}

func notice(seq int64) *executorv1.RunEvent {
	return &executorv1.RunEvent{RunSeq: seq, Payload: &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_Notice{Notice: &backendv1.Notice{Code: "x"}}}}
}

func finished(seq int64) *executorv1.RunEvent {
	return &executorv1.RunEvent{RunSeq: seq, Payload: &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_RunFinished{
		RunFinished: &backendv1.RunFinished{Status: backendv1.RunStatus_RUN_STATUS_COMPLETED}}}}
}

func TestTokens(t *testing.T) {
	f := newFixture(t)
	for name, token := range map[string]string{"none": "", "wrong": "x", "another run's": "token-of-" + uuid.NewString()} {
		p := f.dial(token)
		_ = p.stream.Send(&managerv1.ConnectRequest{Kind: &managerv1.ConnectRequest_Hello{Hello: &managerv1.Hello{RunId: f.runID}}})
		require.Equal(t, connect.CodeUnauthenticated, connect.CodeOf(p.end()), name)
	}
	other := uuid.NewString()
	p := f.dial("token-of-" + other)
	p.hello(other)
	require.Equal(t, connect.CodeNotFound, connect.CodeOf(p.end()), "a run that is not held")

	p = f.dial("token-of-" + f.runID + "-before")
	p.hello(f.runID)
	require.Equal(t, backendv1.ErrorReason_ERROR_REASON_ATTEMPT_SUPERSEDED, rpcerror.Reason(p.end()), "an executor of an earlier attempt")

	f.channels.Shut()
	p = f.dial("token-of-" + other)
	p.hello(other)
	require.Equal(t, connect.CodeUnavailable, connect.CodeOf(p.end()), "an executor must come back to a manager that restarts")
}

func TestEventsAreStoredAndAcknowledged(t *testing.T) {
	f := newFixture(t)
	p, welcome := f.connect()
	require.Zero(t, welcome.GetAckedRunSeq())
	require.InDelta(t, lease.Seconds(), welcome.GetLeaseTtl().AsDuration().Seconds(), 5)
	p.send(notice(1), notice(2))
	p.awaitAck(2)
	p.send(notice(2), notice(3), finished(4)) // one of them again
	p.awaitAck(4)
	require.ErrorIs(t, p.end(), io.EOF, "a finished run's channel ends cleanly")
	<-f.link.Done()
	require.Equal(t, runchannel.End{Kind: runchannel.EndFinal, Status: backendv1.RunStatus_RUN_STATUS_COMPLETED}, f.link.End())
	f.queue.Await(t, "four events", func(v queuetest.View) bool { return len(v.Run(f.runID).Events) == 4 })
}

func TestWhatArrivesDuringAnOutageGoesInOneCall(t *testing.T) {
	f := newFixture(t)
	f.queue.Fail("AppendRunEvents", queuetest.Unavailable())
	p, _ := f.connect()
	const n = 50
	f.link.Deliver(&queuev1.RunCommand{Id: "all sent"})
	for i := int64(1); i <= n; i++ {
		p.send(notice(i))
	}
	require.NoError(t, p.stream.Send(&managerv1.ConnectRequest{Kind: &managerv1.ConnectRequest_CommandDone{CommandDone: &managerv1.CommandDone{CommandId: "all sent"}}}))
	require.Equal(t, "all sent", <-f.done)
	// One call may have begun before the last event came; the next one has all.
	first := -1
	f.queue.Await(t, "two more calls", func(v queuetest.View) bool {
		if first < 0 {
			first = v.Refused("AppendRunEvents")
		}
		return v.Refused("AppendRunEvents") >= first+2
	})
	f.queue.Fail("AppendRunEvents", nil)
	p.awaitAck(n)
	f.queue.Await(t, "one call", func(v queuetest.View) bool { return v.Run(f.runID).Appends == 1 && len(v.Run(f.runID).Events) == n })
}

func TestReconnectGoesOnWhereTheBackendIs(t *testing.T) {
	f := newFixture(t)
	p, _ := f.connect()
	p.send(notice(1), notice(2))
	p.awaitAck(2)
	require.NoError(t, p.stream.Close())
	p, welcome := f.connect()
	require.EqualValues(t, 2, welcome.GetAckedRunSeq())
	p.send(notice(1), notice(2), notice(3))
	p.awaitAck(3)
}

func TestGapsAreResent(t *testing.T) {
	t.Run("found by the manager", func(t *testing.T) {
		f := newFixture(t)
		p, _ := f.connect()
		p.send(notice(1))
		p.awaitAck(1)
		p.send(notice(3), notice(4))
		p.send(notice(5))
		require.EqualValues(t, 1, p.receive().GetWelcome().GetAckedRunSeq())
		p.send(notice(2), notice(3), notice(4), notice(5))
		p.awaitAck(5)
	})
	t.Run("found by the backend", func(t *testing.T) {
		f := newFixture(t)
		p, _ := f.connect()
		p.send(notice(1), notice(2))
		p.awaitAck(2)
		f.queue.Update(f.runID, func(r *queuetest.Run) { r.Events = r.Events[:1] })
		p.send(notice(3))
		require.EqualValues(t, 1, p.receive().GetWelcome().GetAckedRunSeq())
		p.send(notice(2), notice(3))
		p.awaitAck(3)
	})
}

func TestStaleTokenRevokes(t *testing.T) {
	f := newFixture(t)
	p, _ := f.connect()
	f.queue.Steal(f.runID)
	p.send(notice(1))
	require.NotEmpty(t, p.receive().GetRevoked().GetReason())
	require.ErrorIs(t, p.end(), io.EOF)
	<-f.link.Done()
	require.Equal(t, runchannel.EndRevoked, f.link.End().Kind)
}

// A manager that was frozen past its lease, or whose backend is away for as
// long, says nothing about the run and has its agent held: only the backend
// knows whose the run is.
func TestNothingIsForwardedWithoutALease(t *testing.T) {
	outOfTime := func(t *testing.T) (*fixture, *peer) {
		f := newFixture(t)
		p, _ := f.connect()
		f.clock.advance(lease)
		p.send(notice(1))
		f.link.Suspend()
		require.Zero(t, p.receive().GetLeaseRenewed().GetLeaseTtl().AsDuration(), "the agent is held")
		f.link.Suspend()
		require.Zero(t, p.receive().GetLeaseRenewed().GetLeaseTtl().AsDuration(), "and its executor knows that the manager lives")
		require.NoError(t, p.stream.Close())
		p, welcome := f.connect()
		require.Zero(t, welcome.GetLeaseTtl().AsDuration(), "also after it connected again")
		return f, p
	}
	t.Run("renewed", func(t *testing.T) {
		f, p := outOfTime(t)
		f.queue.Await(t, "nothing", func(v queuetest.View) bool { return v.Run(f.runID).Appends == 0 })
		f.link.Renew(f.clock.Now().Add(lease))
		for p.receive().GetLeaseRenewed().GetLeaseTtl().AsDuration() <= 0 { // What was read before goes on at once.
		}
		p.send(notice(1), notice(2))
		p.awaitAck(2)
	})
	t.Run("lost", func(t *testing.T) {
		f, p := outOfTime(t)
		f.link.Revoke("the lease was not renewed")
		require.Equal(t, "the lease was not renewed", p.receive().GetRevoked().GetReason())
		require.Equal(t, runchannel.EndRevoked, f.link.End().Kind)
		f.queue.Await(t, "nothing", func(v queuetest.View) bool { return len(v.Run(f.runID).Events) == 0 })
	})
}

func TestRefusedEventsEndTheRun(t *testing.T) {
	f := newFixture(t)
	p, _ := f.connect()
	f.queue.Fail("AppendRunEvents", status.Error(codes.FailedPrecondition, "something else"))
	p.send(notice(1))
	require.NotNil(t, p.receive().GetRevoked())
	require.Equal(t, runchannel.EndRefused, f.link.End().Kind)
}

func TestANewerChannelEndsTheOlder(t *testing.T) {
	f := newFixture(t)
	older, _ := f.connect()
	newer, _ := f.connect()
	require.Equal(t, connect.CodeAborted, connect.CodeOf(older.end()))
	newer.send(notice(1))
	newer.awaitAck(1)
}

func TestLeaseAndCommandsGoDown(t *testing.T) {
	f := newFixture(t)
	p, _ := f.connect()
	f.link.Renew(f.clock.Now().Add(2 * lease))
	require.InDelta(t, (2 * lease).Seconds(), p.receive().GetLeaseRenewed().GetLeaseTtl().AsDuration().Seconds(), 5)
	cancel := &queuev1.RunCommand{Id: uuid.NewString(), RunId: f.runID, Kind: &queuev1.RunCommand_Cancel{Cancel: &queuev1.CancelCommand{}}}
	require.True(t, f.link.Deliver(cancel))
	require.Equal(t, cancel.GetId(), p.receive().GetCommand().GetId())

	// The channel breaks before it is done: it comes again, once.
	require.NoError(t, p.stream.Close())
	p, _ = f.connect()
	require.True(t, f.link.Deliver(cancel))
	require.Equal(t, cancel.GetId(), p.receive().GetCommand().GetId())
	require.NoError(t, p.stream.Send(&managerv1.ConnectRequest{Kind: &managerv1.ConnectRequest_CommandDone{CommandDone: &managerv1.CommandDone{CommandId: cancel.GetId()}}}))
	require.Equal(t, cancel.GetId(), <-f.done)
	require.False(t, f.link.Deliver(cancel))
	require.Empty(t, f.link.TakeCommands())
}

// An executor may be the agent's by now: it settles its own commands only.
func TestCommandsOfOthersAreNotSettled(t *testing.T) {
	f := newFixture(t)
	p, _ := f.connect()
	done := func(id string) {
		require.NoError(t, p.stream.Send(&managerv1.ConnectRequest{Kind: &managerv1.ConnectRequest_CommandDone{CommandDone: &managerv1.CommandDone{CommandId: id}}}))
	}
	own := &queuev1.RunCommand{Id: "own", RunId: f.runID, Kind: &queuev1.RunCommand_Cancel{Cancel: &queuev1.CancelCommand{}}}
	require.True(t, f.link.Deliver(own))
	done("early")
	done("another run's")
	done("own")
	require.Equal(t, "own", <-f.done, "and no other before it")
	require.False(t, f.link.Deliver(&queuev1.RunCommand{Id: "early"}), "was done before it was delivered here")
}

func TestPartialsAreJoinedAndForwarded(t *testing.T) {
	f := newFixture(t)
	p, _ := f.connect()
	f.queue.Fail("AppendRunEvents", queuetest.Unavailable())
	p.send(notice(1)) // keeps the forwarder busy
	text := func(s string) *backendv1.PartialContent {
		return &backendv1.PartialContent{RunId: f.runID, AgentMessageId: "m", Delta: &backendv1.PartialContent_Text{Text: s}}
	}
	require.NoError(t, p.stream.Send(&managerv1.ConnectRequest{Kind: &managerv1.ConnectRequest_Events{Events: &managerv1.EventBatch{
		Partials: []*backendv1.PartialContent{text("a"), text("b"), text("c")}}}}))
	f.queue.Fail("AppendRunEvents", nil)
	f.queue.Await(t, "text", func(v queuetest.View) bool {
		all := ""
		for _, p := range v.Run(f.runID).Partials {
			all += p.GetText()
		}
		return all == "abc"
	})
}

func TestAFullBufferHoldsTheExecutorBack(t *testing.T) {
	f := newFixture(t)
	f.queue.Fail("AppendRunEvents", queuetest.Unavailable())
	p, _ := f.connect()
	big := func(seq int64) *executorv1.RunEvent {
		e := notice(seq)
		e.GetPayload().GetNotice().Text = strings.Repeat("x", 1<<20)
		return e
	}
	const n = 10
	sent := make(chan int64, n)
	go func() {
		defer close(sent)
		for i := int64(1); i <= n; i++ {
			if p.stream.Send(&managerv1.ConnectRequest{Kind: &managerv1.ConnectRequest_Events{Events: &managerv1.EventBatch{Events: []*executorv1.RunEvent{big(i)}}}}) != nil {
				return
			}
			sent <- i
		}
	}()
	// Three fit, a fourth is being held by the reader: the fifth is not taken.
	for range 4 {
		<-sent
	}
	require.False(t, f.link.AwaitFlushed(canceledContext()))
	require.Empty(t, sent)
	f.queue.Fail("AppendRunEvents", nil)
	p.awaitAckAtLeast(n)
	for range sent { //nolint:revive // until the sender ends
	}
}

func canceledContext() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func (p *peer) awaitAckAtLeast(seq int64) {
	for p.receive().GetAck().GetRunSeq() < seq {
	}
}
