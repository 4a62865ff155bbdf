package app

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strconv"
	"strings"

	"connectrpc.com/connect/v2"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/gen/go/poco/manager/v1/managerv1connect"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/internal/agents"
	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/grpcclient"
	"github.com/poco-ai/poco/services/internal/lifecycle"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/objectstore"
	"github.com/poco-ai/poco/services/internal/rpcerror"
	"github.com/poco-ai/poco/services/internal/rpcserver"
	"github.com/poco-ai/poco/services/internal/tracing"
	"github.com/poco-ai/poco/services/manager/internal/admin"
	"github.com/poco-ai/poco/services/manager/internal/export"
	"github.com/poco-ai/poco/services/manager/internal/fetch"
	"github.com/poco-ai/poco/services/manager/internal/gateway"
	"github.com/poco-ai/poco/services/manager/internal/identity"
	"github.com/poco-ai/poco/services/manager/internal/reach"
	"github.com/poco-ai/poco/services/manager/internal/runchannel"
	"github.com/poco-ai/poco/services/manager/internal/runtime"
	"github.com/poco-ai/poco/services/manager/internal/runtime/selection"
	"github.com/poco-ai/poco/services/manager/internal/worker"
	"github.com/poco-ai/poco/services/manager/internal/workspace"
)

// Names of the manager's secrets.
const (
	envInternalToken = "INTERNAL_API_TOKEN"
	envModelToken    = "ANTHROPIC_AUTH_TOKEN"
	envModelKey      = "ANTHROPIC_API_KEY"
	envOpenAIKey     = "OPENAI_API_KEY"
	envS3AccessKey   = "S3_ACCESS_KEY"
	envS3SecretKey   = "S3_SECRET_KEY"
)

// manager is all parts, connected.
type manager struct {
	identity *identity.Identity
	runtime  runtime.Runtime
	worker   *worker.Worker
	server   *rpcserver.Server
	reach    *reach.Check
}

// build connects the parts and registers them to be closed in reverse order:
// the server stops first, the lock of the workspace folder is given back last.
func build(ctx context.Context, cfg *Config, opts Options, closers *lifecycle.Closers) (*manager, error) {
	msg := cfg.Msg
	id, err := identity.Open(msg.GetWorkspace().GetRoot(), msg.GetQueue().GetWorkerId())
	if err != nil {
		return nil, err
	}
	closers.Add("workspace lock", plain(id.Close))

	rt, why, err := selection.Open(ctx, msg.GetRuntime(), selection.Options{
		WorkerID: id.WorkerID, WorkspaceRoot: msg.GetWorkspace().GetRoot(), CallbackURL: msg.GetServer().GetCallbackBaseUrl(),
		Logger: opts.Logger,
	})
	if err != nil {
		return nil, err
	}
	closers.Add("runtime", plain(rt.Close))
	opts.Logger.InfoContext(ctx, "runtime chosen", "runtime", rt.Name(), "why", why)

	traces, err := tracing.Start(ctx, "manager", msg.GetTracing(), cfg.Secret("OTEL_EXPORTER_OTLP_HEADERS"), opts.Logger)
	if err != nil {
		return nil, err
	}
	closers.Add("traces", traces.Shutdown)
	backend, err := grpcclient.Dial(msg.GetServer().GetBackendUrl(), cfg.Secret(envInternalToken), traces.DialOptions()...)
	if err != nil {
		return nil, err
	}
	closers.Add("backend connection", plain(backend.Close))
	queue := queuev1.NewRunQueueServiceClient(backend)

	objects, err := objectstore.New(ctx, msg.GetObjectStore(), cfg.Secret(envS3AccessKey), cfg.Secret(envS3SecretKey))
	if err != nil {
		return nil, err
	}
	closers.Add("object store", plain(func() error { objects.Close(); return nil }))

	uid, gid := rt.WorkspaceOwner()
	web := fetch.New(fetch.Options{PrivateHosts: msg.GetWorkspace().GetInputPrivateHosts(), MaxBytes: workspace.MaxInputBytes})
	closers.Add("web", plain(func() error { web.Close(); return nil }))
	workspaces, err := workspace.Open(msg.GetWorkspace().GetRoot(), uid, gid, objects)
	if err != nil {
		return nil, err
	}
	exporter := export.New(export.Options{
		WorkerID: id.WorkerID, Objects: objects, Endpoint: msg.GetObjectStore().GetEndpoint(), Queue: queue,
		Workspaces: workspaces, IgnoreDotFiles: msg.GetWorkspace().GetIgnoreDotFiles(), Logger: opts.Logger,
	})
	closers.Add("exporter", plain(func() error { exporter.Close(); return nil }))

	channels := runchannel.NewRegistry(id.VerifyChannelToken)
	callback := strings.TrimSuffix(msg.GetServer().GetCallbackBaseUrl(), "/")
	reached := &reach.Check{Runtime: rt, URL: callback}
	w := worker.New(worker.Options{
		Identity: id, Queue: queue, Runtime: rt, Channels: channels, Workspaces: workspaces, Web: web, Exporter: exporter, Dial: dialExecutor,
		QueueConfig: msg.GetQueue(), RunConfig: msg.GetRun(), StopGrace: msg.GetRuntime().GetStopGrace().AsDuration(),
		Cleanup:     msg.GetWorkspace(),
		CallbackURL: callback, Reached: reached.Reached, Model: modelOf(callback, msg.GetModel()),
		ExecutorEnv:   func() map[string]string { return executorEnv(cfg.Current()) },
		StopExecutors: opts.StopExecutors, Logger: opts.Logger.With(logging.KeyWorkerID, id.WorkerID),
	})
	server, err := newServer(cfg, opts, traces, channels, w)
	if err != nil {
		return nil, err
	}
	closers.Add("server", server.Shutdown)
	reached.Instance, reached.Listening = server.Instance(), server.Addrs
	managerv1connect.RegisterRunChannelServiceHandler(server.Connect(), channels)
	managerv1connect.RegisterExecutorPoolServiceHandler(server.Connect(), &admin.Pool{WorkerID: id.WorkerID, Runtime: rt, Load: w.Load})
	managerv1connect.RegisterWorkspaceServiceHandler(server.Connect(), &admin.Workspaces{Store: workspaces})

	for api, options := range map[agents.API]gateway.Options{
		agents.Anthropic: {API: gateway.Anthropic, BaseURL: msg.GetModel().GetAnthropicBaseUrl(), Token: cfg.Secret(envModelToken), APIKey: cfg.Secret(envModelKey)},
		agents.OpenAI:    {API: gateway.OpenAI, BaseURL: msg.GetModel().GetOpenaiBaseUrl(), APIKey: cfg.Secret(envOpenAIKey)},
	} {
		options.Refresh, options.Verify, options.Logger, options.Registerer = cfg.Refresh, verifyModel(id, api, channels), opts.Logger, server.Registry()
		model, err := gateway.New(options)
		if err != nil {
			return nil, err
		}
		server.Handle(options.API.Prefix+"/", model)
	}
	err = errors.Join(server.Registry().Register(w.Metrics()), server.Registry().Register(exporter.Metrics()))
	return &manager{identity: id, runtime: rt, worker: w, server: server, reach: reached}, err
}

func newServer(cfg *Config, opts Options, traces *tracing.Provider, channels *runchannel.Registry, w *worker.Worker) (*rpcserver.Server, error) {
	token := cfg.Secret(envInternalToken)
	options := rpcserver.Options{
		Service: "manager", Logger: opts.Logger, Traces: traces, Config: cfg, InternalToken: token, ClientToken: cfg.Secret("CLIENT_TOKEN"),
		AccessLog:    func() bool { return cfg.Current().GetLogging().GetAccessLog() },
		AllowedHosts: cfg.Msg.GetDeployment().GetAllowedHosts(),
		Ready: func(context.Context) error {
			select {
			case <-w.Adopted():
				return nil
			default:
				return errors.New("waiting for the backend to hand over the runs of before")
			}
		},
		Interceptors: []connect.ServerInterceptor{
			channels.Interceptor(),
			auth.BearerInterceptor(auth.ServiceMatcher(
				managerv1connect.ExecutorPoolServiceName, managerv1connect.WorkspaceServiceName), auth.StaticToken(token)),
		},
	}
	if opts.Listener != nil {
		options.Listeners = []net.Listener{opts.Listener}
	} else {
		options.Addrs = listenAddrs(cfg.Msg.GetServer().GetHosts(), cfg.Msg.GetServer().GetPort())
	}
	return rpcserver.New(options)
}

// modelOf tells what an agent is given for a model.
func modelOf(callback string, msg *configv1.ModelConfig) func(agent string) worker.Model {
	return func(agent string) worker.Model {
		if agents.APIOf(agent) == agents.OpenAI {
			return worker.Model{URL: callback + gateway.OpenAI.Prefix, Default: msg.GetOpenaiAgentModel()}
		}
		return worker.Model{URL: callback + gateway.Anthropic.Prefix, Default: msg.GetDefaultModel()}
	}
}

// verifyModel admits the model tokens of attempts that are held.
func verifyModel(id *identity.Identity, api agents.API, channels *runchannel.Registry) gateway.VerifyToken {
	return func(token string) (context.Context, error) {
		attempt, err := id.VerifyModelToken(api, token)
		if err != nil {
			return nil, rpcerror.Unauthenticated("the model token is not valid").WithCause(err)
		}
		return channels.Held(attempt)
	}
}

func dialExecutor(addr, token string) (worker.ExecutorClient, func() error, error) {
	conn, err := grpcclient.Dial(addr, config.NewSecret(token))
	if err != nil {
		return nil, nil, err
	}
	return executorv1.NewExecutorServiceClient(conn), conn.Close, nil
}

// checkExecutors tells at start what would fail every run. An engine that is
// away may come; executors that do not reach this manager are a mistake in the
// settings or the network, which is refused.
func (m *manager) checkExecutors(ctx context.Context, logger *slog.Logger) error {
	err := m.runtime.Check(ctx)
	if err == nil {
		if err = m.reach.Reached(ctx); errors.Is(err, runtime.ErrUnreachable) {
			return err
		}
	}
	if err != nil {
		logger.WarnContext(ctx, "executors cannot be launched now; runs will fail until this is solved", logging.KeyError, err)
	}
	return nil
}

func plain(f func() error) func(context.Context) error {
	return func(context.Context) error { return f() }
}

// executorEnv is what executors share with their manager: how they log, and
// the model of a run that names none. They log to no files: a container's root
// is read-only and vanishes with it, and anyone who runs an executor keeps what it
// prints.
func executorEnv(msg *configv1.ManagerConfig) map[string]string {
	env := map[string]string{
		"APP_ENV":       msg.GetDeployment().GetAppEnv(),
		"DEBUG":         strconv.FormatBool(msg.GetLogging().GetDebug()),
		"ACCESS_LOG":    strconv.FormatBool(msg.GetLogging().GetAccessLog()),
		"LOG_FORMAT":    msg.GetLogging().GetFormat(),
		"DEFAULT_MODEL": msg.GetModel().GetDefaultModel(),
	}
	if level := msg.GetLogging().GetLevel(); level != "" {
		env["LOG_LEVEL"] = level
	}
	if rules := msg.GetWorkspace().GetGitIgnore(); len(rules) > 0 {
		env["WORKSPACE_GIT_IGNORE"] = strings.Join(rules, ",")
	}
	return env
}
