package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"connectrpc.com/connect/v2"
	"golang.org/x/sync/errgroup"

	"github.com/poco-ai/poco/gen/go/poco/backend/v1/backendv1connect"
	"github.com/poco-ai/poco/gen/go/poco/queue/v1/queuev1connect"
	"github.com/poco-ai/poco/services/backend/internal/hint"
	"github.com/poco-ai/poco/services/backend/internal/page"
	"github.com/poco-ai/poco/services/backend/internal/postgres"
	"github.com/poco-ai/poco/services/backend/internal/presence"
	"github.com/poco-ai/poco/services/backend/internal/purge"
	"github.com/poco-ai/poco/services/backend/internal/queue"
	"github.com/poco-ai/poco/services/backend/internal/run"
	"github.com/poco-ai/poco/services/backend/internal/session"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/backend/internal/task"
	"github.com/poco-ai/poco/services/backend/internal/userinput"
	"github.com/poco-ai/poco/services/backend/internal/watch"
	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/lifecycle"
	"github.com/poco-ai/poco/services/internal/objectstore"
	"github.com/poco-ai/poco/services/internal/rpcserver"
	"github.com/poco-ai/poco/services/internal/tracing"
)

// shutdownTimeout is how long the parts may take to stop, all together.
const shutdownTimeout = 20 * time.Second

// Options are what a caller may decide beside the configuration.
type Options struct {
	// Logger is used instead of one made from the configuration.
	Logger *slog.Logger
	// Listener is used instead of HOST and PORT.
	Listener net.Listener
	// Addrs are listened on, host:port, instead of HOST and PORT.
	Addrs []string
	// Ready is called once with the base URL, when /readyz would say so.
	Ready func(baseURL string)
}

// Run runs the backend until ctx is done, and returns nil when it then stopped
// cleanly.
func Run(ctx context.Context, cfg *Config, opts Options) (err error) {
	logger := opts.Logger
	if logger == nil {
		logger = slog.Default()
	}
	var closers lifecycle.Closers
	defer func() {
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		err = errors.Join(err, closers.Close(stopCtx))
	}()

	traces, err := tracing.Start(ctx, Service, cfg.Msg.GetTracing(), cfg.Secret("OTEL_EXPORTER_OTLP_HEADERS"), logger)
	if err != nil {
		return err
	}
	closers.Add("traces", traces.Shutdown)
	pool, err := openDatabase(ctx, cfg, logger)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil // stopped while it waited for Postgres, which is no failure
	case err != nil:
		return err
	}
	closers.Add("database", func(context.Context) error { pool.Close(); return nil })
	objects, err := objectstore.New(ctx, cfg.Msg.GetObjectStore(), cfg.Secret("S3_ACCESS_KEY"), cfg.Secret("S3_SECRET_KEY"))
	if err != nil {
		return fmt.Errorf("open the object store: %w", err)
	}

	// Background work outlives ctx: it ends when the server has drained.
	workCtx, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	bus := hint.NewBus(pool, logger)
	st := store.New(pool, bus)
	feeds := watch.NewFeeds(st, bus, logger)
	here := new(presence.Presence)
	runs := queue.New(st, bus, logger, queue.Timing{
		UserInput: cfg.Msg.GetUserInput().GetTimeout().AsDuration(), WorkerGone: cfg.Msg.GetDispatch().GetWorkerGoneAfter().AsDuration(),
	}, here)
	work, workCtx := errgroup.WithContext(workCtx)
	vital := func(name string, run func(context.Context) error) {
		work.Go(func() error { return lifecycle.Vital(workCtx, name, run) })
	}
	retention := cfg.Msg.GetRetention()
	purger := purge.New(purge.Options{
		Store: st, Objects: objects, Logger: logger,
		Retention: retention.GetSessionRetention().AsDuration(), Interval: retention.GetPurgeInterval().AsDuration(),
	})
	vital("the purger", purger.Run)
	vital("the feeds of watched sessions", feeds.Run)
	vital("the bus of hints", bus.Run)
	vital("the sweep of what expires", runs.Sweep)
	work.Go(func() error { makeBucket(workCtx, objects, logger); return nil })
	closers.Add("background work", func(context.Context) error { stopWork(); return work.Wait() })

	health := postgres.NewHealth(pool)
	server, err := newServer(cfg, opts, logger, traces, health)
	if err != nil {
		return err
	}
	register(server.Connect(), cfg, st, objects, bus, feeds, runs)
	if err := server.Start(); err != nil { // the server ends by Shutdown
		return fmt.Errorf("listen: %w", err)
	}
	closers.Add("server", server.Shutdown)
	vital("the watch over the database", func(ctx context.Context) error { here.Keep(ctx, health.Ask); return nil })
	if opts.Ready != nil {
		opts.Ready("http://" + server.Addr().String())
	}
	logger.InfoContext(ctx, "backend is ready", "addr", server.Addr().String())

	select {
	case <-ctx.Done():
		return nil
	case err := <-server.Failed():
		return err
	case <-workCtx.Done(): // only when a part gave up
		return work.Wait()
	}
}

func newServer(cfg *Config, opts Options, logger *slog.Logger, traces *tracing.Provider, health *postgres.Health) (*rpcserver.Server, error) {
	token, clientToken := cfg.Secret("INTERNAL_API_TOKEN"), cfg.Secret("CLIENT_TOKEN")
	so := rpcserver.Options{
		Service: Service, Addrs: opts.Addrs, Logger: logger, Traces: traces, Config: cfg, InternalToken: token, ClientToken: clientToken,
		Ready: health.Ready, AccessLog: func() bool { return cfg.Current().GetLogging().GetAccessLog() },
		AllowedHosts: cfg.Msg.GetDeployment().GetAllowedHosts(), Middleware: allowOrigins(cfg.Msg.GetServer().GetCorsOrigins()),
		Interceptors: []connect.ServerInterceptor{
			postgres.Interceptor(health.Failed),
			auth.BearerInterceptor(auth.ServiceMatcher("poco.queue.v1."), auth.StaticToken(token)),
			// Everything else is for clients, but what has a rule of its own.
			auth.ClientInterceptor(clientToken, token, auth.ServiceMatcher(
				"poco.queue.v1.", "poco.config.v1.", "grpc.health.v1.", "grpc.reflection.")),
			auth.UserInterceptor(token),
		},
	}
	switch {
	case opts.Listener != nil:
		so.Listeners = []net.Listener{opts.Listener}
	case len(so.Addrs) == 0:
		c := cfg.Msg.GetServer()
		so.Addrs = []string{net.JoinHostPort(c.GetHost(), strconv.Itoa(int(c.GetPort())))}
	}
	server, err := rpcserver.New(so)
	if err != nil {
		return nil, fmt.Errorf("set up the server: %w", err)
	}
	return server, nil
}

func register(server *connect.Server, cfg *Config, st *store.Store, objects *objectstore.Store, bus *hint.Bus, feeds *watch.Feeds, runs *queue.Queue) {
	tokens := page.NewTokens(cfg.Secret("SECRET_KEY"))
	backendv1connect.RegisterTaskServiceHandler(server, task.New(st, runs.SweepBy))
	backendv1connect.RegisterSessionServiceHandler(server, session.New(st, tokens, objects, bus, feeds))
	backendv1connect.RegisterRunServiceHandler(server, run.New(st, tokens))
	backendv1connect.RegisterUserInputServiceHandler(server, userinput.New(st, tokens))
	queuev1connect.RegisterRunQueueServiceHandler(server, runs)
}
