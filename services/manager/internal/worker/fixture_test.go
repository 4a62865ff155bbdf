package worker_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectinprocess"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	managerv1 "github.com/poco-ai/poco/gen/go/poco/manager/v1"
	"github.com/poco-ai/poco/gen/go/poco/manager/v1/managerv1connect"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/internal/objectstore"
	"github.com/poco-ai/poco/services/internal/rpcerror"
	"github.com/poco-ai/poco/services/manager/internal/export"
	"github.com/poco-ai/poco/services/manager/internal/identity"
	"github.com/poco-ai/poco/services/manager/internal/queuetest"
	"github.com/poco-ai/poco/services/manager/internal/runchannel"
	"github.com/poco-ai/poco/services/manager/internal/runtime"
	"github.com/poco-ai/poco/services/manager/internal/runtime/runtimetest"
	"github.com/poco-ai/poco/services/manager/internal/worker"
	"github.com/poco-ai/poco/services/manager/internal/workspace"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"))
}

// host is what outlives a manager: the machine with its executors, the disk,
// and the queue.
type host struct {
	t       *testing.T
	queue   *queuetest.Queue
	machine *runtimetest.Machine
	root    string
	script  script
	objects *memory
	// health, when not nil, is what an executor does before it answers.
	health func(context.Context)

	mu        sync.Mutex
	executors map[string]*executor // by address
	channels  func() managerv1connect.RunChannelServiceClient
}

// script is what scripted executors do with a run.
type script func(ctx context.Context, run *scriptedRun)

func newHost(t *testing.T, s script) *host {
	h := &host{t: t, queue: queuetest.New(), root: t.TempDir(), script: s, executors: make(map[string]*executor),
		objects: &memory{objects: make(map[string][]byte)}}
	h.machine = runtimetest.NewMachine(func(spec runtime.Spec) http.Handler {
		return h.newExecutor(spec)
	})
	t.Cleanup(func() {
		for _, e := range h.machine.Executors() {
			h.machine.Kill(e.ID)
		}
		h.mu.Lock()
		all := slices.Collect(maps.Values(h.executors))
		h.mu.Unlock()
		for _, e := range all {
			e.die()
			e.work.Wait()
		}
	})
	return h
}

// executor is a scripted executor.
type executor struct {
	host *host
	spec runtime.Spec
	ctx  context.Context
	die  context.CancelFunc
	work sync.WaitGroup

	mu     sync.Mutex
	run    *executorv1.StartRunRequest
	starts int
	// idle is set when the script of its run has ended.
	idle    bool
	refuses error
}

func (h *host) newExecutor(spec runtime.Spec) *executor {
	e := &executor{host: h, spec: spec}
	e.ctx, e.die = context.WithCancel(context.Background())
	h.mu.Lock()
	h.executors[spec.ExecutorID] = e
	h.mu.Unlock()
	return e
}

// ServeHTTP answers health checks.
func (e *executor) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	if e.host.health != nil {
		e.host.health(r.Context())
	}
}

func (e *executor) StartRun(_ context.Context, req *executorv1.StartRunRequest, _ ...grpc.CallOption) (*executorv1.StartRunResponse, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.refuses != nil {
		return nil, e.refuses
	}
	e.starts++
	if e.run.GetRunId() == req.GetRunId() && e.run.GetAttempt() == req.GetAttempt() {
		return &executorv1.StartRunResponse{}, nil
	}
	e.run, e.idle = req, false
	e.work.Go(func() {
		defer func() {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.idle = true
		}()
		e.host.script(e.ctx, &scriptedRun{host: e.host, executor: e, start: req, next: req.GetNextRunSeq()})
	})
	return &executorv1.StartRunResponse{}, nil
}

func (e *executor) GetStatus(context.Context, *executorv1.GetStatusRequest, ...grpc.CallOption) (*executorv1.GetStatusResponse, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return &executorv1.GetStatusResponse{RunId: e.run.GetRunId(), Attempt: e.run.GetAttempt(), Idle: e.run == nil || e.idle}, nil
}

// dial finds the executor behind an address, whose token must be right.
func (h *host) dial(id *identity.Identity) worker.DialExecutor {
	return func(addr, token string) (worker.ExecutorClient, func() error, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, info := range h.machine.Executors() {
			if e := h.executors[info.ID]; e != nil && info.Addr == addr && id.ExecutorToken(info.ID) == token {
				return e, func() error { return nil }, nil
			}
		}
		return nil, nil, errors.New("no executor there, or wrong token")
	}
}

// scriptedRun is a run in a scripted executor.
type scriptedRun struct {
	host     *host
	executor *executor
	start    *executorv1.StartRunRequest
	next     int64
}

// scriptedChannel is an open channel.
type scriptedChannel struct {
	managerv1connect.RunChannelServiceConnectClientStream
	welcome *managerv1.Welcome
}

// open opens a channel; nil when it is refused or the executor dies.
func (r *scriptedRun) open(ctx context.Context) *scriptedChannel {
	r.host.mu.Lock()
	channels := r.host.channels
	r.host.mu.Unlock()
	ctx, info := connect.NewClientContext(ctx)
	info.RequestHeader().Set("Authorization", "Bearer "+r.start.GetChannelToken())
	stream, err := channels().Connect(ctx)
	if err != nil {
		return nil
	}
	hello := &managerv1.ConnectRequest{Kind: &managerv1.ConnectRequest_Hello{Hello: &managerv1.Hello{RunId: r.start.GetRunId()}}}
	if stream.Send(hello) != nil {
		_ = stream.Close()
		return nil
	}
	m, err := stream.Receive()
	if err != nil || m.GetWelcome() == nil {
		_ = stream.Close()
		return nil
	}
	return &scriptedChannel{stream, m.GetWelcome()}
}

func (r *scriptedRun) report(c *scriptedChannel, payload *executorv1.RunEventPayload) {
	e := &executorv1.RunEvent{RunSeq: r.next, Payload: payload}
	r.next++
	_ = c.Send(&managerv1.ConnectRequest{Kind: &managerv1.ConnectRequest_Events{Events: &managerv1.EventBatch{Events: []*executorv1.RunEvent{e}}}})
}

func (r *scriptedRun) notice(c *scriptedChannel) {
	r.report(c, &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_Notice{Notice: &backendv1.Notice{Code: "working"}}})
}

func (r *scriptedRun) finish(c *scriptedChannel, status backendv1.RunStatus) {
	r.report(c, &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_RunFinished{RunFinished: &backendv1.RunFinished{Status: status}}})
}

// until receives until want says so, or the channel ends (false).
func (c *scriptedChannel) until(want func(*managerv1.ConnectResponse) bool) bool {
	for {
		m, err := c.Receive()
		if err != nil {
			return false
		}
		if want(m) {
			return true
		}
	}
}

// completes reports one event and the end.
func completes(ctx context.Context, r *scriptedRun) {
	c := r.open(ctx)
	if c == nil {
		return
	}
	defer c.Close()
	r.notice(c)
	r.finish(c, backendv1.RunStatus_RUN_STATUS_COMPLETED)
	c.until(func(m *managerv1.ConnectResponse) bool { return m.GetAck().GetRunSeq() == r.next-1 })
}

// works reports one event and goes on until it is canceled or revoked.
func works(ctx context.Context, r *scriptedRun) {
	c := r.open(ctx)
	if c == nil {
		return
	}
	defer c.Close()
	r.notice(c)
	var cmd *queuev1.RunCommand
	if !c.until(func(m *managerv1.ConnectResponse) bool {
		cmd = m.GetCommand()
		return cmd.GetCancel() != nil
	}) {
		return
	}
	r.finish(c, backendv1.RunStatus_RUN_STATUS_CANCELED)
	_ = c.Send(&managerv1.ConnectRequest{Kind: &managerv1.ConnectRequest_CommandDone{CommandDone: &managerv1.CommandDone{CommandId: cmd.GetId()}}})
	c.until(func(m *managerv1.ConnectResponse) bool { return m.GetAck().GetRunSeq() == r.next-1 })
}

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

// options change what a manager is started with.
type options struct {
	reached        func(context.Context) error
	slots          int32
	lease          time.Duration
	pull           time.Duration
	stopExecutors  bool
	cancelGrace    time.Duration
	enginePatience time.Duration
	cleanup        *configv1.WorkspaceConfig
}

// manager is one life of the manager on a host.
type manager struct {
	host   *host
	worker *worker.Worker
	// workspaces and exporter are the worker's.
	workspaces *workspace.Store
	exporter   *export.Exporter
	clock      *clock
	stop       func()
}

// manage starts a manager; the test stops it, or its end does.
func (h *host) manage(o options) *manager {
	t := h.t
	if o.slots == 0 {
		o.slots = 5
	}
	if o.lease == 0 {
		o.lease = time.Minute
	}
	if o.pull == 0 {
		o.pull = time.Hour // hints must do
	}
	id, err := identity.Open(h.root, "")
	require.NoError(t, err)
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	workspaces, err := workspace.Open(h.root, -1, -1, h.objects)
	require.NoError(t, err)
	exporter := export.New(export.Options{WorkerID: id.WorkerID, Objects: h.objects, Queue: h.queue, Workspaces: workspaces, Logger: logger})
	channels := runchannel.NewRegistry(id.VerifyChannelToken)
	rt := h.machine.Runtime(id.WorkerID, 0)
	m := &manager{host: h, clock: &clock{}, workspaces: workspaces, exporter: exporter}
	m.worker = worker.New(worker.Options{
		Identity: id, Queue: h.queue, Runtime: rt, Channels: channels, Workspaces: workspaces, Exporter: exporter, Dial: h.dial(id),
		ExecutorEnv: func() map[string]string { return nil },
		QueueConfig: &configv1.QueueConfig{
			PullEnabled: true, MaxConcurrentTasks: o.slots, PullInterval: durationpb.New(o.pull), ClaimLease: durationpb.New(o.lease),
		},
		RunConfig: &configv1.RunConfig{}, CallbackURL: "http://manager", Model: func(string) worker.Model { return worker.Model{URL: "http://manager/model"} },
		Reached: o.reached, Cleanup: o.cleanup, StopExecutors: o.stopExecutors, CancelGrace: o.cancelGrace, EnginePatience: cmp.Or(o.enginePatience, time.Millisecond), Now: m.clock.Now, Logger: logger,
	})
	server := connect.NewServer(rpcerror.Interceptor(logger), channels.Interceptor())
	managerv1connect.RegisterRunChannelServiceHandler(server, channels)
	client := managerv1connect.NewRunChannelServiceClient(connect.NewClient(connectinprocess.New(server)))
	h.mu.Lock()
	h.channels = func() managerv1connect.RunChannelServiceClient { return client }
	h.mu.Unlock()

	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.worker.Run(ctx) }()
	m.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-ended)
		exporter.Close()
		require.NoError(t, rt.Close())
		require.NoError(t, id.Close())
	})
	t.Cleanup(m.stop)
	return m
}

// memory is an object store.
type memory struct {
	mu      sync.Mutex
	objects map[string][]byte
}

func (o *memory) Put(_ context.Context, key, _ string, body io.Reader, _ int64) error {
	b, err := io.ReadAll(body)
	o.mu.Lock()
	defer o.mu.Unlock()
	if err == nil {
		o.objects[key] = b
	}
	return err
}

func (o *memory) Get(_ context.Context, key string) (io.ReadCloser, objectstore.Object, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	b, ok := o.objects[key]
	if !ok {
		return nil, objectstore.Object{}, objectstore.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(b)), objectstore.Object{Key: key, Size: int64(len(b))}, nil
}

func (o *memory) Delete(_ context.Context, keys ...string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, key := range keys {
		delete(o.objects, key)
	}
	return nil
}

// snapshots are the keys of all private snapshots.
func (o *memory) snapshots() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var keys []string
	for key := range o.objects {
		if strings.HasPrefix(key, "private/") {
			keys = append(keys, key)
		}
	}
	return keys
}

// session is a new session id.
func session() string { return uuid.NewString() }

// bare is a manager's identity and runtime without a worker.
type bare struct {
	identity *identity.Identity
	runtime  runtime.Runtime
	close    func()
}

func (h *host) manageIdentity(t *testing.T) *bare {
	id, err := identity.Open(h.root, "")
	require.NoError(t, err)
	rt := h.machine.Runtime(id.WorkerID, 0)
	return &bare{id, rt, func() {
		require.NoError(t, rt.Close())
		require.NoError(t, id.Close())
	}}
}

// nothing is what a script waits for until its channel ends.
func nothing(*managerv1.ConnectResponse) bool { return false }
