// Package rpcserver serves everything a service offers on one port: its RPC
// services over gRPC, gRPC-Web and Connect, health, reflection, configuration,
// and plain HTTP.
package rpcserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"buf.build/go/protovalidate"
	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/connect/v2/connectproto"
	"connectrpc.com/grpcreflect/v2"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/configservice"
	"github.com/poco-ai/poco/services/internal/strictjson"
	"github.com/poco-ai/poco/services/internal/tracing"
)

const (
	// maxRequestBytes bounds one request message.
	maxRequestBytes = 16 << 20
	// maxConcurrentStreams bounds the calls under way on one connection: a
	// frontend carries all its watchers on one. Go's default is 250.
	maxConcurrentStreams = 1_000
	// maxOpenStreams bounds the streaming calls of all connections together; each
	// costs some tens of KiB. Callers with the internal token are not counted.
	maxOpenStreams = 4_000
	// readHeaderTimeout bounds how long a client may take to ask.
	readHeaderTimeout = 10 * time.Second
	// bodyIdleTimeout is how long a client may pause in the middle of a request.
	bodyIdleTimeout = time.Minute
	// idleTimeout closes connections that nobody uses.
	idleTimeout = 5 * time.Minute
	// pingAfter of silence the other end is pinged, so that a stream whose
	// client has vanished ends.
	pingAfter = 20 * time.Second
	// pingTimeout is how long the other end may take to answer a ping.
	pingTimeout = 10 * time.Second
	// readyTimeout bounds one readiness check.
	readyTimeout = 5 * time.Second
)

// ErrDraining is the cause with which open streams end when the server stops.
var ErrDraining = errors.New("the service is shutting down")

// Options describes a server.
type Options struct {
	// Service is its name in logs, for example "backend".
	Service string
	// Addrs are the listen addresses, host:port.
	Addrs []string
	// Listeners are used instead of Addrs; the server closes them.
	Listeners []net.Listener
	Logger    *slog.Logger
	// Config is served by ConfigService; nil leaves that service out.
	Config configservice.Config
	// InternalToken opens what ConfigService does not tell everybody.
	InternalToken config.Secret
	// ClientToken, if set, opens the same, and nothing else does.
	ClientToken config.Secret
	// Ready says why the service is not ready; nil when it is. It is called at
	// each check, concurrently, and has to respect its context.
	Ready func(context.Context) error
	// MaxOpenStreams bounds the streaming calls under way, those of callers with
	// the internal token apart; 0 means 4,000.
	MaxOpenStreams int
	// BodyIdleTimeout is how long an HTTP/1 client may pause in the middle of a
	// request's body; 0 means one minute.
	BodyIdleTimeout time.Duration
	// AccessLog tells, at each call, whether one line is logged for it; nil logs
	// none.
	AccessLog func() bool
	// AllowedHosts are host names, besides localhost and addresses, under which
	// the server may be called over loopback (ALLOWED_HOSTS).
	AllowedHosts []string
	// Interceptors run before a request is decoded and validated.
	Interceptors []connect.ServerInterceptor
	// Traces are what calls belong to; none when nil.
	Traces *tracing.Provider
	// Validator checks requests; protovalidate's own when nil.
	Validator protovalidate.Validator
	// Middleware wraps everything the server answers, for example with CORS.
	Middleware func(http.Handler) http.Handler
	// Registerer receives the server's own metrics instead of its registry. When
	// it is a prometheus.Gatherer as well, /metrics shows it too.
	Registerer prometheus.Registerer
}

// Server is a service's one port. Use: New, register services on Connect and
// handlers with Handle, Start, Shutdown.
type Server struct {
	opts     Options
	logger   *slog.Logger
	connect  *connect.Server
	mux      *http.ServeMux
	http     *http.Server
	registry *prometheus.Registry
	health   *healthService
	// instance is this process's, made up at random: it tells replicas apart.
	instance string

	// streams are the places for streaming calls.
	streams chan struct{}

	drainCtx context.Context
	drain    context.CancelCauseFunc
	failed   chan error

	mu        sync.Mutex
	listeners []net.Listener
	started   bool
	serving   sync.WaitGroup
}

// New returns a server that does not listen yet.
func New(opts Options) (*Server, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.AccessLog == nil {
		opts.AccessLog = func() bool { return false }
	}
	if opts.BodyIdleTimeout <= 0 {
		opts.BodyIdleTimeout = bodyIdleTimeout
	}
	s := &Server{
		opts: opts, logger: opts.Logger, mux: http.NewServeMux(), registry: prometheus.NewRegistry(), instance: uuid.NewString(),
		failed: make(chan error, 1), streams: make(chan struct{}, cmp.Or(opts.MaxOpenStreams, maxOpenStreams)),
	}
	s.drainCtx, s.drain = context.WithCancelCause(context.Background())
	if err := s.build(); err != nil {
		return nil, fmt.Errorf("set up the %s server: %w", opts.Service, err)
	}
	return s, nil
}

func (s *Server) build() error {
	interceptors, err := s.interceptors()
	if err != nil {
		return err
	}
	s.connect = connect.NewServer(interceptors...)
	s.health = newHealthService(s)
	s.health.register(s.connect)
	if s.opts.Config != nil {
		configservice.Register(s.connect, configservice.Options{
			Config: s.opts.Config, Token: s.opts.InternalToken, ClientToken: s.opts.ClientToken, Instance: s.instance, Listening: s.Addrs,
		})
	}
	s.registerEndpoints()

	var handler http.Handler = s.mux
	if s.opts.Middleware != nil {
		handler = s.opts.Middleware(handler)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	s.http = &http.Server{
		Handler:           s.middleware(checkHost(s.opts.AllowedHosts, handler)),
		Protocols:         protocols,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          maxConcurrentStreams,
			MaxReceiveBufferPerConnection: 4<<20 - 1,
			MaxReceiveBufferPerStream:     1 << 20,
			SendPingTimeout:               pingAfter,
			PingTimeout:                   pingTimeout,
		},
	}
	return nil
}

// Connect is where services are registered, before Start.
func (s *Server) Connect() *connect.Server { return s.connect }

// Handle serves plain HTTP; call it before Start.
func (s *Server) Handle(pattern string, h http.Handler) { s.mux.Handle(pattern, h) }

// Registry is where the service's metrics are registered.
func (s *Server) Registry() *prometheus.Registry { return s.registry }

// Start binds every address and returns once all are listening. It also logs
// the configuration's findings.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started {
		return errors.New("the server has been started before")
	}
	listeners, err := s.listen()
	if err != nil {
		return err
	}
	s.started = true
	s.listeners = listeners
	if s.opts.Config != nil {
		config.LogFindings(s.logger, s.opts.Config.Report())
	}
	grpcreflect.Register(s.connect)
	connecthttp.Mount(s.mux, s.connect, connecthttp.WithReadMaxBytes(maxRequestBytes),
		connecthttp.WithCodecs(connectproto.NewBinaryCodec(), strictjson.NewCodec()))
	for _, l := range listeners {
		s.serving.Go(func() {
			if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				s.fail(fmt.Errorf("the listener on %s failed: %w", l.Addr(), err))
			}
		})
	}
	return nil
}

// Failed gets the error of a listener that ended by itself. A service that is
// deaf on one of its addresses must end: anyone who looks after it starts it again,
// and until then it takes no more work.
func (s *Server) Failed() <-chan error { return s.failed }

func (s *Server) fail(err error) {
	select {
	case s.failed <- err:
	default: // one is enough
	}
}

func (s *Server) listen() ([]net.Listener, error) {
	if len(s.opts.Listeners) > 0 {
		return s.opts.Listeners, nil
	}
	if len(s.opts.Addrs) == 0 {
		return nil, errors.New("no address to listen on")
	}
	var listeners []net.Listener
	for _, addr := range s.opts.Addrs {
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
		if err == nil {
			listeners = append(listeners, l)
			continue
		}
		for _, open := range listeners {
			_ = open.Close() // the error to report is the other one
		}
		return nil, &ListenError{Addr: addr, Err: err}
	}
	return listeners, nil
}

// ListenError says that an address cannot be listened on.
type ListenError struct {
	Addr string
	Err  error
}

// Error implements error.
func (e *ListenError) Error() string {
	switch {
	case errors.Is(e.Err, syscall.EADDRINUSE):
		return fmt.Sprintf("address %s is already in use", e.Addr)
	case errors.Is(e.Err, syscall.EACCES):
		return fmt.Sprintf("no permission to listen on address %s", e.Addr)
	case errors.Is(e.Err, syscall.EADDRNOTAVAIL):
		return fmt.Sprintf("address %s is not one of this machine's", e.Addr)
	default:
		return fmt.Sprintf("cannot listen on address %s: %v", e.Addr, e.Err)
	}
}

// Unwrap returns the cause.
func (e *ListenError) Unwrap() error { return e.Err }

// Addr is the first bound address; nil before Start.
func (s *Server) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.listeners) == 0 {
		return nil
	}
	return s.listeners[0].Addr()
}

// Instance is the random name of this process in the answer of /healthz.
func (s *Server) Instance() string { return s.instance }

// Addrs are the bound addresses; none before Start.
func (s *Server) Addrs() []net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]net.Addr, len(s.listeners))
	for i, l := range s.listeners {
		out[i] = l.Addr()
	}
	return out
}

// Draining is closed when the server begins to stop.
func (s *Server) Draining() <-chan struct{} { return s.drainCtx.Done() }

// Shutdown stops the server: health turns to NOT_SERVING, open streams end with
// Unavailable, calls under way are finished until ctx ends, and then everything
// is closed. It may be called more than once.
func (s *Server) Shutdown(ctx context.Context) error {
	s.drain(ErrDraining)
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = fmt.Errorf("calls did not end in time: %w", err)
		err = errors.Join(err, s.http.Close())
	}
	s.serving.Wait()
	return err
}
