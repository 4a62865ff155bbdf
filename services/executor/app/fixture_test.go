package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	managerv1 "github.com/poco-ai/poco/gen/go/poco/manager/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/internal/claudecode"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/grpcclient"
	"github.com/poco-ai/poco/services/internal/scriptedmodel"
)

const (
	executorToken = "pet_test.0123456789abcdef"
	runToken      = "pct_test.0123456789abcdef"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The scripted model's and the executor's idle HTTP connections end with
		// the process.
		goleak.IgnoreAnyFunction("internal/poll.runtime_pollWait"))
}

// manager is a scripted RunChannelService: it stores events as the backend
// would, and breaks channels on request.
type manager struct {
	managerv1.UnimplementedRunChannelServiceServer
	t   *testing.T
	url string

	mu       sync.Mutex
	events   []*executorv1.RunEvent
	partial  string
	done     map[string]int
	opened   int
	changed  chan struct{}
	commands []*queuev1.RunCommand
	// breakAfter breaks a channel after that many new events; 0 never.
	breakAfter int
	ttl        time.Duration
	// renew is a lease to pass down on the open channel.
	renew  time.Duration
	refuse error
	revoke chan struct{}
}

func newManager(t *testing.T) *manager {
	t.Helper()
	m := &manager{t: t, done: map[string]int{}, changed: make(chan struct{}), ttl: time.Minute, revoke: make(chan struct{})}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	managerv1.RegisterRunChannelServiceServer(server, m)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	m.url = "http://" + listener.Addr().String()
	return m
}

func (m *manager) notify() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// await waits until ok, called with the lock held, says true.
func (m *manager) await(what string, ok func() bool) {
	m.t.Helper()
	deadline := time.NewTimer(90 * time.Second)
	defer deadline.Stop()
	for {
		m.mu.Lock()
		met, changed := ok(), m.changed
		m.mu.Unlock()
		if met {
			return
		}
		select {
		case <-changed:
		case <-deadline.C:
			m.mu.Lock()
			defer m.mu.Unlock()
			m.t.Fatalf("timed out waiting for %s; events: %v", what, m.events)
		}
	}
}

// finished waits for the terminal event.
func (m *manager) finished() *backendv1.RunFinished {
	m.t.Helper()
	var f *backendv1.RunFinished
	m.await("the terminal event", func() bool {
		if n := len(m.events); n > 0 {
			f = m.events[n-1].GetPayload().GetRunFinished()
		}
		return f != nil
	})
	return f
}

func (m *manager) set(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
	m.notify()
}

func (m *manager) Connect(stream grpc.BidiStreamingServer[managerv1.ConnectRequest, managerv1.ConnectResponse]) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	if got := md.Get("authorization"); len(got) != 1 || got[0] != "Bearer "+runToken {
		return status.Error(codes.Unauthenticated, "wrong token")
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	if first.GetHello() == nil {
		return status.Error(codes.InvalidArgument, "no hello")
	}
	m.mu.Lock()
	if m.refuse != nil {
		defer m.mu.Unlock()
		return m.refuse
	}
	m.opened++
	acked := int64(len(m.events))
	sent := map[string]bool{}
	ttl := m.ttl
	m.notify()
	m.mu.Unlock()
	err = stream.Send(&managerv1.ConnectResponse{Kind: &managerv1.ConnectResponse_Welcome{
		Welcome: &managerv1.Welcome{AckedRunSeq: acked, LeaseTtl: durationpb.New(ttl)},
	}})
	if err != nil {
		return err
	}
	read := make(chan error, 1)
	acks := make(chan int64, 1000)
	go func() { read <- m.read(stream, acks) }()
	for {
		m.mu.Lock()
		changed := m.changed
		var out []*managerv1.ConnectResponse
		for _, c := range m.commands {
			if !sent[c.GetId()] {
				sent[c.GetId()] = true
				out = append(out, &managerv1.ConnectResponse{Kind: &managerv1.ConnectResponse_Command{Command: c}})
			}
		}
		if m.renew > 0 {
			out = append(out, &managerv1.ConnectResponse{Kind: &managerv1.ConnectResponse_LeaseRenewed{
				LeaseRenewed: &managerv1.LeaseRenewed{LeaseTtl: durationpb.New(m.renew)},
			}})
			m.renew = 0
		}
		m.mu.Unlock()
		for _, r := range out {
			if err := stream.Send(r); err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case seq := <-acks:
			err := stream.Send(&managerv1.ConnectResponse{Kind: &managerv1.ConnectResponse_Ack{Ack: &managerv1.Ack{RunSeq: seq}}})
			if err != nil {
				return err
			}
		case <-m.revoke:
			return stream.Send(&managerv1.ConnectResponse{Kind: &managerv1.ConnectResponse_Revoked{Revoked: &managerv1.Revoked{Reason: "test"}}})
		case err := <-read:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

func (m *manager) read(stream grpc.BidiStreamingServer[managerv1.ConnectRequest, managerv1.ConnectResponse], acks chan<- int64) error {
	fresh := 0
	for {
		request, err := stream.Recv()
		if err != nil {
			return err
		}
		m.mu.Lock()
		if d := request.GetCommandDone(); d != nil {
			m.done[d.GetCommandId()]++
		}
		for _, e := range request.GetEvents().GetEvents() {
			switch next := int64(len(m.events)) + 1; {
			case e.GetRunSeq() < next: // A resend.
			case e.GetRunSeq() > next:
				m.mu.Unlock()
				return status.Error(codes.FailedPrecondition, fmt.Sprintf("gap: got %d, want %d", e.GetRunSeq(), next))
			default:
				m.events = append(m.events, e)
				fresh++
			}
		}
		for _, p := range request.GetEvents().GetPartials() {
			m.partial += p.GetText()
		}
		broken := m.breakAfter > 0 && fresh >= m.breakAfter
		if !broken && len(request.GetEvents().GetEvents()) > 0 {
			acks <- int64(len(m.events))
		}
		m.notify()
		m.mu.Unlock()
		if broken {
			return status.Error(codes.Unavailable, "broken for the test")
		}
	}
}

func (m *manager) log() []*executorv1.RunEventPayload {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []*executorv1.RunEventPayload
	for i, e := range m.events {
		require.EqualValues(m.t, i+1, e.GetRunSeq())
		all = append(all, e.GetPayload())
	}
	return all
}

// start runs an executor and returns a client for it. stop ends it.
func start(t *testing.T, workspace string, env ...string) (client executorv1.ExecutorServiceClient, stop func()) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	cfg, err := LoadConfig(config.Sources{Environ: append([]string{
		"EXECUTOR_TOKEN=" + executorToken, "DEFAULT_MODEL=claude-sonnet-4-20250514", "WORKSPACE_PATH=" + workspace,
		"EXECUTOR_STATE_PATH=" + filepath.Join(filepath.Dir(workspace), "state"),
		"CLAUDE_CLI_PATH=" + os.Getenv(claudecode.PathSetting),
	}, env...)})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended, ready := make(chan error, 1), make(chan string, 1)
	go func() {
		ended <- Run(ctx, cfg, Options{Listener: listener, Ready: func(url string) { ready <- url }})
	}()
	var url string
	select {
	case url = <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	conn, err := grpcclient.Dial(url, config.NewSecret(executorToken))
	require.NoError(t, err)
	stop = sync.OnceFunc(func() {
		require.NoError(t, conn.Close())
		cancel()
		require.NoError(t, <-ended)
	})
	t.Cleanup(stop)
	return executorv1.NewExecutorServiceClient(conn), stop
}

// requireCLI skips by name without the real CLI.
func requireCLI(t *testing.T) {
	t.Helper()
	if _, err := claudecode.Find(os.Getenv(claudecode.PathSetting), ""); err != nil {
		if os.Getenv("POCO_TEST_REQUIRE_ALL") == "1" {
			t.Fatal(err)
		}
		t.Skip("needs the real CLI: ", err)
	}
}

func newModel(t *testing.T) *scriptedmodel.Server {
	t.Helper()
	model, err := scriptedmodel.Start(context.Background(), "127.0.0.1:0", scriptedmodel.Options{Token: runToken, Pace: 15 * time.Millisecond})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, model.Close()) })
	return model
}

// request is a run of the real CLI against the scripted model.
func request(t *testing.T, m *manager, prompt string) (*executorv1.StartRunRequest, *scriptedmodel.Server) {
	t.Helper()
	requireCLI(t)
	model := newModel(t)
	return &executorv1.StartRunRequest{
		RunId: uuid.NewString(), SessionId: uuid.NewString(), Prompt: prompt, NextRunSeq: 1,
		LeaseTtl: durationpb.New(time.Minute), ChannelUrl: m.url, ChannelToken: runToken, Attempt: 1,
		ModelBaseUrl: model.URL, ModelToken: runToken,
		Limits: &executorv1.RunLimits{IdleTimeout: durationpb.New(time.Minute)},
	}, model
}

func workspaceDir(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "workspace")
}
