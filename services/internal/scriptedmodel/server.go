package scriptedmodel

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"
)

// readHeaderTimeout bounds how long a client may take to send its headers.
const readHeaderTimeout = 10 * time.Second

// Server is a Handler on a listening port.
type Server struct {
	*Handler
	// URL is the address to give as ANTHROPIC_BASE_URL.
	URL string

	http *http.Server
	done chan struct{}
}

// Start listens on addr ("127.0.0.1:0" for a free port) and serves until ctx
// ends or Close is called.
func Start(ctx context.Context, addr string, opts Options) (*Server, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("scripted model: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &Server{Handler: New(opts), URL: "http://" + listener.Addr().String(), done: make(chan struct{})}
	s.http = &http.Server{
		Handler:           s.Handler,
		ReadHeaderTimeout: readHeaderTimeout,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	go func() {
		defer close(s.done)
		defer cancel()
		_ = s.http.Serve(listener) // Done says that it ended.
	}()
	context.AfterFunc(ctx, func() { _ = s.http.Close() })
	return s, nil
}

// Done is closed when the server does not listen any more, whyever.
func (s *Server) Done() <-chan struct{} { return s.done }

// Close stops the server at once, hanging requests included.
func (s *Server) Close() error {
	err := s.http.Close()
	<-s.done
	return err
}
