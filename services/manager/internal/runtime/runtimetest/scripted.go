package runtimetest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/poco-ai/poco/services/internal/probe"
	"github.com/poco-ai/poco/services/manager/internal/runtime"
	"github.com/poco-ai/poco/services/manager/internal/runtime/runtimetest/behaviour"
)

// Machine is where scripted executors live: servers in this process, on real
// loopback ports. Runtimes come and go on it as managers do on a host.
type Machine struct {
	// Serve makes the server of an executor. It must answer GET /healthz with
	// 200. Nil: one that knows /healthz and POST /exit?code=&say= only.
	Serve func(spec runtime.Spec) http.Handler
	// Refuse, when not nil, is asked before each launch and may fail it.
	Refuse func(spec runtime.Spec) error
	// Stopping, when not nil, is called by Stop before the executor ends, and may
	// take as long as a slow engine does.
	Stopping func(e runtime.Executor)
	// Unusable, when not nil, is asked by Check.
	Unusable func() error

	mu        sync.Mutex
	executors map[string]*scripted
}

// scripted is one executor of a Machine.
type scripted struct {
	worker string
	info   runtime.Executor
	spec   runtime.Spec
	server *httptest.Server
	ends   sync.Once
	done   chan struct{} // closed once exit is set
	exit   runtime.Exit
}

// NewMachine makes an empty machine. serve may be nil.
func NewMachine(serve func(spec runtime.Spec) http.Handler) *Machine {
	return &Machine{Serve: serve, executors: map[string]*scripted{}}
}

// Runtime opens the machine for a worker.
func (m *Machine) Runtime(workerID string, startTimeout time.Duration) runtime.Runtime {
	if startTimeout <= 0 {
		startTimeout = patience
	}
	return &scriptedRuntime{machine: m, worker: workerID, startTimeout: startTimeout, closed: make(chan struct{})}
}

// Kill ends an executor as SIGKILL would.
func (m *Machine) Kill(executorID string) {
	m.End(executorID, runtime.Exit{Code: 137, Signal: syscall.SIGKILL})
}

// End ends an executor with an exit of the test's choice.
func (m *Machine) End(executorID string, exit runtime.Exit) {
	m.mu.Lock()
	e := m.executors[executorID]
	m.mu.Unlock()
	if e != nil {
		e.end(exit)
	}
}

// Executors lists the executors of all workers that were not stopped.
func (m *Machine) Executors() []runtime.Executor {
	return m.list(func(*scripted) bool { return true })
}

func (m *Machine) list(want func(*scripted) bool) []runtime.Executor {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []runtime.Executor
	for _, e := range m.executors {
		if want(e) {
			found = append(found, e.describe())
		}
	}
	slices.SortFunc(found, func(a, b runtime.Executor) int { return a.StartedAt.Compare(b.StartedAt) })
	return found
}

func (e *scripted) describe() runtime.Executor {
	info := e.info
	select {
	case <-e.done:
		info.Alive, info.Addr = false, ""
	default:
	}
	return info
}

// end closes the server without waiting for requests, as a death does.
func (e *scripted) end(exit runtime.Exit) {
	e.ends.Do(func() {
		if e.server != nil {
			_ = e.server.Listener.Close() // nobody can connect any more
			e.server.CloseClientConnections()
		}
		e.exit = exit
		close(e.done)
	})
}

func (e *scripted) handler(serve func(runtime.Spec) http.Handler) http.Handler {
	if serve != nil {
		return serve(e.spec)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /exit", func(_ http.ResponseWriter, r *http.Request) {
		code, err := strconv.Atoi(r.FormValue("code"))
		if err != nil {
			code = 99
		}
		say := r.FormValue("say")
		// Its own connection is closed by the end.
		e.end(runtime.Exit{Code: code, LogTail: say})
	})
	return mux
}

// scriptedRuntime is one worker's view of a Machine.
type scriptedRuntime struct {
	machine      *Machine
	worker       string
	startTimeout time.Duration
	closeOnce    sync.Once
	closed       chan struct{}
}

func (r *scriptedRuntime) Name() string { return "scripted" }

func (r *scriptedRuntime) WorkspaceOwner() (uid, gid int) { return -1, -1 }

func (r *scriptedRuntime) Check(context.Context) error {
	if r.machine.Unusable != nil {
		return r.machine.Unusable()
	}
	return nil
}

func (r *scriptedRuntime) Fetch(ctx context.Context, url string) (string, error) {
	answer, err := probe.Get(ctx, url)
	if err != nil {
		err = fmt.Errorf("%w: %w", runtime.ErrUnreachable, err)
	}
	return answer, err
}

func (r *scriptedRuntime) isClosed() bool {
	select {
	case <-r.closed:
		return true
	default:
		return false
	}
}

func (r *scriptedRuntime) Launch(ctx context.Context, spec runtime.Spec) (runtime.Executor, error) {
	if err := spec.Validate(); err != nil {
		return runtime.Executor{}, err
	}
	for _, dir := range []string{spec.WorkspaceDir, spec.StateDir} {
		if _, err := os.Stat(dir); err != nil {
			return runtime.Executor{}, err
		}
	}
	if r.isClosed() {
		return runtime.Executor{}, runtime.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return runtime.Executor{}, err
	}
	if r.machine.Refuse != nil {
		if err := r.machine.Refuse(spec); err != nil {
			return runtime.Executor{}, err
		}
	}
	e, err := r.start(ctx, spec)
	if err != nil {
		return runtime.Executor{}, err
	}
	ready, cancel := context.WithTimeoutCause(ctx, r.startTimeout, runtime.ErrStartTimeout)
	defer cancel()
	if err := runtime.AwaitReady(ready, spec, e.info.Addr, e.done); err != nil {
		gone := runtime.IsGone(err)
		stopErr := r.Stop(context.WithoutCancel(ctx), spec.ExecutorID, 0)
		if gone {
			return runtime.Executor{}, &runtime.ExitedError{Exit: e.exit}
		}
		if stopErr != nil {
			return runtime.Executor{}, stopErr
		}
		return runtime.Executor{}, err
	}
	return e.info, nil
}

func (r *scriptedRuntime) start(ctx context.Context, spec runtime.Spec) (*scripted, error) {
	if spec.Mode == "" {
		spec.Mode = runtime.ModeEphemeral
	}
	m := r.machine
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.executors[spec.ExecutorID]; ok {
		return nil, fmt.Errorf("%w: %s", runtime.ErrExists, spec.ExecutorID)
	}
	e := &scripted{worker: r.worker, spec: spec, done: make(chan struct{}), info: runtime.Executor{
		ID: spec.ExecutorID, RunID: spec.RunID, Attempt: spec.Attempt, SessionID: spec.SessionID, UserID: spec.UserID, Mode: spec.Mode,
		Handle: "scripted-" + spec.ExecutorID, WorkspaceDir: spec.WorkspaceDir, StartedAt: time.Now(), Alive: true,
	}}
	switch spec.Env[behaviour.Var] {
	case behaviour.ExitsAtStart:
		e.info.Addr = "http://127.0.0.1:1"
		e.end(runtime.Exit{Code: behaviour.StartExitCode, LogTail: behaviour.LastWords})
	case behaviour.Silent:
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		e.info.Addr = "http://" + listener.Addr().String()
		e.server = &httptest.Server{Listener: listener}
	default:
		e.server = httptest.NewUnstartedServer(e.handler(m.Serve))
		// As executors do: gRPC without TLS on the same port.
		e.server.Config.Protocols = new(http.Protocols)
		e.server.Config.Protocols.SetHTTP1(true)
		e.server.Config.Protocols.SetUnencryptedHTTP2(true)
		e.server.Start()
		e.info.Addr = e.server.URL
	}
	m.executors[spec.ExecutorID] = e
	return e, nil
}

func (r *scriptedRuntime) find(id string) (*scripted, error) {
	if r.isClosed() {
		return nil, runtime.ErrClosed
	}
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	e := r.machine.executors[id]
	if e == nil || e.worker != r.worker {
		return nil, fmt.Errorf("%w: %s", runtime.ErrNotFound, id)
	}
	return e, nil
}

func (r *scriptedRuntime) Watch(ctx context.Context, id string) (runtime.Exit, error) {
	e, err := r.find(id)
	if err != nil {
		return runtime.Exit{}, err
	}
	if err := runtime.AwaitEnd(ctx, e.done, r.closed); err != nil {
		return runtime.Exit{}, err
	}
	return e.exit, nil
}

// Stop ends an executor at once: a server in this process needs no grace. A
// stubborn one behaves as if the grace had passed.
func (r *scriptedRuntime) Stop(_ context.Context, id string, grace time.Duration) error {
	e, err := r.find(id)
	if r.isClosed() {
		return runtime.ErrClosed
	}
	if err != nil {
		return nil //nolint:nilerr // an unknown executor is stopped
	}
	if r.machine.Stopping != nil {
		r.machine.Stopping(e.describe())
	}
	exit := runtime.Exit{LogTail: behaviour.Farewell}
	if grace <= 0 || e.spec.Env[behaviour.Var] == behaviour.Stubborn {
		exit = runtime.Exit{Code: 137, Signal: syscall.SIGKILL}
	}
	e.end(exit)
	if e.server != nil && e.server.Config != nil {
		e.server.Close() // waits for its handlers
	}
	r.machine.mu.Lock()
	delete(r.machine.executors, id)
	r.machine.mu.Unlock()
	return nil
}

func (r *scriptedRuntime) List(_ context.Context, sessionID string) ([]runtime.Executor, error) {
	if r.isClosed() {
		return nil, runtime.ErrClosed
	}
	return r.machine.list(func(e *scripted) bool {
		return e.worker == r.worker && (sessionID == "" || e.info.SessionID == sessionID)
	}), nil
}

func (r *scriptedRuntime) Close() error {
	r.closeOnce.Do(func() { close(r.closed) })
	return nil
}
