// Package app is the frontend service: the web page, and the way from the page
// to the backend's public services.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/frontend/internal/page"
	"github.com/poco-ai/poco/services/frontend/internal/proxy"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/rpcserver"
	"github.com/poco-ai/poco/services/internal/version"
)

// shutdownGrace bounds how long open pages may take to notice the end.
const shutdownGrace = 10 * time.Second

// Config is the frontend's configuration.
type Config = config.Loaded[*configv1.FrontendConfig]

// LoadConfig reads the configuration. The error lists all problems.
func LoadConfig(src config.Sources) (*Config, error) {
	return config.Load(&configv1.FrontendConfig{}, "frontend", src)
}

// Options are what the program around the service decides.
type Options struct {
	// Logger receives the service's log; default slog.Default().
	Logger *slog.Logger
	// Ready is called once with the service's URL when it serves.
	Ready func(baseURL string)
	// Listener is used instead of the configured address.
	Listener net.Listener
}

// Run serves until ctx ends and returns nil after a clean shutdown.
func Run(ctx context.Context, cfg *Config, opts Options) error {
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	server, err := newServer(cfg, opts)
	if err != nil {
		return err
	}
	if err := server.Start(); err != nil { // binding does not wait
		return err
	}
	url := "http://" + server.Addr().String()
	opts.Logger.InfoContext(ctx, "frontend serves", "url", url)
	if opts.Ready != nil {
		opts.Ready(url)
	}
	var failure error
	select {
	case <-ctx.Done():
	case failure = <-server.Failed():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	return errors.Join(failure, server.Shutdown(stop))
}

func newServer(cfg *Config, opts Options) (*rpcserver.Server, error) {
	options := rpcserver.Options{
		Service: "frontend", Logger: opts.Logger, Config: cfg,
		AccessLog:    func() bool { return cfg.Current().GetLogging().GetAccessLog() },
		AllowedHosts: cfg.Msg.GetDeployment().GetAllowedHosts(), InternalToken: cfg.Secret("INTERNAL_API_TOKEN"), ClientToken: cfg.Secret("CLIENT_TOKEN"),
	}
	if opts.Listener != nil {
		options.Listeners = []net.Listener{opts.Listener}
	} else {
		options.Addrs = []string{net.JoinHostPort(cfg.Msg.GetHost(), strconv.Itoa(int(cfg.Msg.GetPort())))}
	}
	server, err := rpcserver.New(options)
	if err != nil {
		return nil, err
	}
	backend, err := proxy.New(cfg.Msg.GetBackendUrl(), opts.Logger)
	if err != nil {
		return nil, err
	}
	server.Handle(proxy.Prefix+"/", endWhenDraining(server.Draining(), backend))
	pages, err := page.New(page.Settings{
		APIURL:                 cfg.Msg.GetPublicApiUrl(),
		SessionPollingInterval: cfg.Msg.GetSessionPollingInterval().AsDuration().Milliseconds(),
		MessagePollingInterval: cfg.Msg.GetMessagePollingInterval().AsDuration().Milliseconds(),
		Version:                version.String(),
	})
	if err != nil {
		return nil, fmt.Errorf("prepare page: %w", err)
	}
	for pattern, handler := range pages {
		server.Handle(pattern, handler)
	}
	return server, nil
}

// endWhenDraining cuts proxied streams when the server stops: they would keep
// it waiting, and the page connects again by itself.
func endWhenDraining(draining <-chan struct{}, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		done := make(chan struct{})
		defer close(done)
		go func() {
			select {
			case <-draining:
				cancel(rpcserver.ErrDraining)
			case <-done:
			}
		}()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}
