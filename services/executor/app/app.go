// Package app is the executor: it runs one agent at a time in one workspace.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"

	"connectrpc.com/connect/v2"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/gen/go/poco/executor/v1/executorv1connect"
	"github.com/poco-ai/poco/services/executor/internal/acp"
	"github.com/poco-ai/poco/services/executor/internal/agent"
	"github.com/poco-ai/poco/services/executor/internal/claude"
	"github.com/poco-ai/poco/services/executor/internal/process"
	"github.com/poco-ai/poco/services/executor/internal/rpc"
	"github.com/poco-ai/poco/services/executor/internal/run"
	"github.com/poco-ai/poco/services/internal/agents"
	"github.com/poco-ai/poco/services/internal/claudecode"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/grpcclient"
	"github.com/poco-ai/poco/services/internal/lifecycle"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/rpcserver"
	"github.com/poco-ai/poco/services/internal/rules"
)

const (
	// shutdownGrace bounds the whole shutdown: stopping the agent, committing
	// what it did, and telling the manager.
	shutdownGrace = 20 * time.Second

	envToken      = "EXECUTOR_TOKEN"
	envModelToken = "ANTHROPIC_AUTH_TOKEN"
)

// Config is the executor's configuration.
type Config = config.Loaded[*configv1.ExecutorConfig]

// LoadConfig reads the configuration. The error lists all problems.
func LoadConfig(src config.Sources) (*Config, error) {
	return config.Load(&configv1.ExecutorConfig{}, "executor", src)
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

// Run works until ctx ends, or until the executor has nothing to do and no
// manager was heard of for long (see run.AbandonedAfter), and returns nil after
// a clean shutdown.
func Run(ctx context.Context, cfg *Config, opts Options) (err error) {
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	msg := cfg.Msg
	logger := opts.Logger
	if id := msg.GetId(); id != "" {
		logger = logger.With(logging.KeyExecutorID, id)
	}
	token, err := cfg.Secret(envToken).OrHash()
	if err != nil {
		return fmt.Errorf("%s: %w", envToken, err)
	}
	if err := hideProcess(); err != nil {
		return fmt.Errorf("what this process holds would be open to its agent: %w", err)
	}
	if err := process.AdoptOrphans(); err != nil {
		logger.WarnContext(ctx, "commands that an agent leaves behind may go on", logging.KeyError, err)
	}
	var closers lifecycle.Closers
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
		defer cancel()
		err = errors.Join(err, closers.Close(stop))
	}()
	listener, err := listen(opts.Listener, msg)
	if err != nil {
		return err
	}
	server, err := newServer(cfg, token, listener, logger)
	if err != nil {
		return err
	}
	closers.Add("server", server.Shutdown)
	runs := run.New(run.Settings{
		WorkspacePath: msg.GetWorkspacePath(),
		StatePath:     msg.GetStatePath(),
		GitIgnore:     msg.GetWorkspaceGitIgnore(),
		Agents: agent.Drivers{
			claude.Driver{CLI: func() (string, error) { return claudecode.Find(msg.GetClaudeCliPath(), "") }},
			acp.Codex(func() (string, error) { return agents.Find(agents.Codex, msg.GetAgentsDir()) }),
			acp.OpenCode(func() (string, error) { return agents.Find(agents.OpenCode, msg.GetAgentsDir()) }),
		},
		ModelBaseURL: msg.GetAnthropicBaseUrl(),
		ModelToken:   cfg.Secret(envModelToken),
		DefaultModel: msg.GetDefaultModel(),
		Dial: func(url string, token config.Secret) (run.Conn, error) {
			return grpcclient.Dial(url, token)
		},
		Logger: logger,
	})
	closers.Add("run", runs.Close)
	executorv1connect.RegisterExecutorServiceHandler(server.Connect(), &rpc.Executor{Runs: runs})
	if err := server.Start(); err != nil { // A server ends by Shutdown, not by a context.
		return err
	}
	url := "http://" + server.Addr().String()
	logger.InfoContext(ctx, "executor serves", "url", url)
	if opts.Ready != nil {
		opts.Ready(url)
	}
	select {
	case <-ctx.Done():
	case err := <-server.Failed():
		return err
	case <-runs.Abandoned():
		logger.WarnContext(ctx, "no manager was heard of for long, stopping")
	}
	return nil
}

func newServer(cfg *Config, token config.Secret, listener net.Listener, logger *slog.Logger) (*rpcserver.Server, error) {
	options := rpcserver.Options{
		Service: "executor", Logger: logger, Config: cfg,
		// The executor has no internal token: its own opens its configuration, and
		// being on the same machine does not.
		InternalToken: token, ClientToken: token,
		AccessLog:    func() bool { return cfg.Current().GetLogging().GetAccessLog() },
		AllowedHosts: cfg.Msg.GetDeployment().GetAllowedHosts(),
		Validator:    rules.Validator{},
		Interceptors: []connect.ServerInterceptor{rpc.Interceptor(token)},
	}
	if listener != nil {
		options.Listeners = []net.Listener{listener}
	} else {
		options.Addrs = []string{net.JoinHostPort(cfg.Msg.GetHost(), strconv.Itoa(int(cfg.Msg.GetPort())))}
	}
	return rpcserver.New(options)
}

// listen returns the listener that was given, or the inherited socket, or nil
// for the configured address.
func listen(given net.Listener, msg *configv1.ExecutorConfig) (net.Listener, error) {
	fd := msg.GetListenFd()
	if given != nil || fd == 0 {
		return given, nil
	}
	file := os.NewFile(uintptr(fd), "listener")
	if file == nil {
		return nil, fmt.Errorf("EXECUTOR_LISTEN_FD: %d is not an open descriptor", fd)
	}
	listener, err := net.FileListener(file)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("EXECUTOR_LISTEN_FD: descriptor %d is not a listening socket: %w", fd, err), file.Close())
	}
	// The listener has its own copy; the original must not reach the agent.
	return listener, file.Close()
}
