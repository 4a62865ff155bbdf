// Package stack runs a whole Poco in one process: embedded Postgres and S3 as
// its children, backend, manager and frontend as its parts.
package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	backend "github.com/poco-ai/poco/services/backend/app"
	frontend "github.com/poco-ai/poco/services/frontend/app"
	"github.com/poco-ai/poco/services/internal/agents"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/embedded"
	"github.com/poco-ai/poco/services/internal/lifecycle"
	"github.com/poco-ai/poco/services/internal/objectstore"
	"github.com/poco-ai/poco/services/internal/scriptedmodel"
	manager "github.com/poco-ai/poco/services/manager/app"
	"github.com/poco-ai/poco/services/poco/internal/localstack"
)

// stopTimeout is the one deadline of the whole shutdown.
const stopTimeout = 60 * time.Second

// Options describes a stack.
type Options struct {
	// DataDir keeps everything. See DefaultDataDir.
	DataDir string
	// Sources are the settings; the stack adds its own below them.
	Sources config.Sources
	// Runtime overrides EXECUTOR_RUNTIME when it is not empty.
	Runtime string
	// ScriptedModel decides whether the scripted model stands in for the real
	// one; token tells whether there is one for the real one.
	ScriptedModel func(token bool) bool
	// Poco are the settings of the poco command: the ports of the embedded
	// servers, where a compose stack's do not say them.
	Poco *config.Loaded[*configv1.PocoConfig]
	// Progress is told about every step.
	Progress func(line string)
	// Log receives the services' logs.
	Log io.Writer
}

// Info is what a started stack tells.
type Info struct {
	// URL is the page, BackendURL the API.
	URL, BackendURL string
	// ClientToken opens both, and SignInURL is the page with it.
	ClientToken, SignInURL string
	DataDir                string
	// Runtime is "docker" or "process", and Why tells how it was chosen.
	Runtime, Why string
	// Scripted means that no real model is called.
	Scripted bool
	// ModelToken means that there is a token for the real model.
	ModelToken bool
}

// stack is what Run works on.
type stack struct {
	opts    Options
	dir     *dataDir
	secrets secrets
	layer   layer
	// overrides stand above the environment: flags, and ports that were 0.
	overrides map[string]string
	compose   *composeSettings
	settings  *settings
	home      executorHome
	parts     *parts
	closers   lifecycle.Closers
	scripted  bool

	backendListener, frontendListener net.Listener
	managerAddr                       string
	ownPostgres, ownS3                bool
}

// Run starts everything, calls ready once every part says it is, and runs until
// ctx ends, ready returns an error, or a part fails. Everything is stopped in
// the reverse order of its start before it returns.
func Run(ctx context.Context, opts Options, ready func(ctx context.Context, info Info) error) (err error) {
	s := &stack{opts: opts, overrides: map[string]string{}}
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		err = errors.Join(err, s.closers.Close(stop))
		if s.dir != nil {
			err = errors.Join(err, s.dir.release(stop.Err() == nil))
		}
	}()
	var cancel context.CancelFunc
	s.parts, ctx, cancel = newParts(ctx)
	defer cancel()
	if err := s.prepare(ctx); err != nil {
		return s.parts.cause(err)
	}
	if err := s.startServers(ctx); err != nil {
		return s.parts.cause(err)
	}
	info, err := s.startServices(ctx)
	if err != nil {
		return s.parts.cause(err)
	}
	if err := ready(ctx, info); err != nil {
		return s.parts.cause(err)
	}
	<-ctx.Done()
	opts.Progress("stopping")
	return s.parts.cause(nil)
}

// prepare settles everything that can be known before anything starts.
func (s *stack) prepare(ctx context.Context) (err error) {
	if s.dir, err = openDataDir(s.opts.DataDir); err != nil {
		return err
	}
	if s.secrets, err = s.dir.secrets(); err != nil {
		return err
	}
	clientToken, told, err := localstack.EnsureToken(s.dir.path)
	if err != nil {
		return err
	}
	if told != "" {
		s.opts.Progress(told)
	}
	s.layer = baseLayer(s.dir, s.secrets)
	s.layer["CLIENT_TOKEN"] = clientToken
	if s.compose, err = loadCompose(with(s.opts.Sources, s.layer, nil), s.opts.Poco); err != nil {
		return err
	}
	if s.opts.Runtime != "" {
		s.overrides["EXECUTOR_RUNTIME"] = s.opts.Runtime
	}
	s.ownPostgres, s.ownS3 = embeddedParts(with(s.opts.Sources, s.layer, s.overrides))
	if !s.ownS3 {
		// An S3 server of somebody else's comes with all its settings.
		for _, env := range []string{"S3_ENDPOINT", "S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_BUCKET"} {
			delete(s.layer, env)
		}
	}
	if err := s.load(); err != nil {
		return err
	}
	for _, line := range s.compose.unused(s.ownPostgres, s.ownS3) {
		s.opts.Progress(line)
	}
	if s.home, err = findExecutorHome(ctx, s.settings.manager.Msg.GetRuntime()); err != nil {
		return err
	}
	if err := s.listen(ctx); err != nil {
		return err
	}
	// One of the environment is the one that clients need.
	if inForce := s.clientToken(); inForce != clientToken {
		if err := localstack.WriteToken(s.dir.path, inForce); err != nil {
			return err
		}
	}
	return s.dir.occupy(localstack.Occupant{
		URL:     publicURL(s.frontendListener.Addr()),
		Backend: s.backendListener.Addr().String(), Manager: s.managerAddr, Frontend: s.frontendListener.Addr().String(),
	})
}

// load reads all settings with the layer as it is now.
func (s *stack) load() (err error) {
	s.settings, err = loadSettings(with(s.opts.Sources, s.layer, s.overrides))
	return err
}

// startServers starts what the services stand on, all at the same time.
func (s *stack) startServers(ctx context.Context) error {
	group, together := errgroup.WithContext(ctx)
	group.Go(func() error { return s.startPostgres(together) })
	group.Go(func() error { return s.startS3(together) })
	cli := ""
	group.Go(func() (err error) { cli, err = s.findCLI(together); return err })
	if err := group.Wait(); err != nil {
		return err
	}
	if cli != "" {
		s.layer["CLAUDE_CLI_PATH"] = cli
	}
	s.layer[agents.DirSetting] = s.dir.in(agentsDir)
	if err := s.startModel(ctx); err != nil {
		return err
	}
	if err := s.load(); err != nil {
		return err
	}
	return s.ensureBucket(ctx)
}

func (s *stack) startPostgres(ctx context.Context) error {
	if !s.ownPostgres {
		s.opts.Progress("using the Postgres that DATABASE_URL names")
		return nil
	}
	folder := s.dir.in("postgres")
	if err := awaitStalePostgres(ctx, folder, s.opts.Progress); err != nil {
		return err
	}
	s.opts.Progress("starting Postgres")
	postgres, err := embedded.StartPostgres(ctx, embedded.PostgresOptions{
		DataDir: folder, Port: s.compose.postgresPort, Password: s.secrets.PostgresPassword,
		LogPath: s.dir.in("postgres.log"), DownloadDir: s.dir.in(downloads), Progress: s.opts.Progress,
	})
	if err != nil {
		return portHint(ctx, err, postgresServer, s.compose.postgresPort, s.compose.postgresPortSetting)
	}
	s.closers.Add("Postgres", postgres.Stop)
	s.parts.watch("the embedded Postgres ("+s.dir.in("postgres.log")+" tells why)", postgres.Done())
	s.parts.set(s.layer, "DATABASE_URL", postgres.URL())
	return nil
}

func (s *stack) startS3(ctx context.Context) error {
	if !s.ownS3 {
		s.opts.Progress("using the S3 server that S3_ENDPOINT names")
		return nil
	}
	if s.dir.unclean {
		awaitFreePort(ctx, loopback, s.compose.s3Port)
	}
	s.opts.Progress("starting the S3 server")
	s3, err := embedded.StartS3(ctx, embedded.S3Options{
		DataDir: s.dir.in("s3"), Host: loopback, Port: s.compose.s3Port,
		// Those that the services will show: from the environment where they are set.
		AccessKey: s.settings.backend.Secret("S3_ACCESS_KEY").Reveal(), SecretKey: s.settings.backend.Secret("S3_SECRET_KEY").Reveal(),
		Region:  s.settings.backend.Msg.GetObjectStore().GetRegion(),
		LogPath: s.dir.in("s3.log"), BinDir: s.dir.in(downloads), Progress: s.opts.Progress,
	})
	if err != nil {
		return portHint(ctx, err, s3Server, s.compose.s3Port, s.compose.s3PortSetting)
	}
	s.closers.Add("S3 server", s3.Stop)
	s.parts.watch("the embedded S3 server ("+s.dir.in("s3.log")+" tells why)", s3.Done())
	s.parts.set(s.layer, "S3_ENDPOINT", s3.Endpoint())
	return nil
}

// findCLI returns the Claude Code CLI of the process runtime, installing it the
// first time; containers bring their own.
func (s *stack) findCLI(ctx context.Context) (string, error) {
	explicit := s.settings.manager.Msg.GetRuntime().GetClaudeCliPath()
	if s.home.docker || explicit != "" {
		return explicit, nil
	}
	return installCLI(ctx, s.dir.path, s.opts.Progress)
}

// startModel starts the scripted model where it is to stand in for a real one.
func (s *stack) startModel(ctx context.Context) error {
	s.scripted = s.opts.ScriptedModel(s.hasToken())
	if !s.scripted {
		return nil
	}
	token := s.secrets.InternalAPIToken[:26] + "-scripted"
	model, err := scriptedmodel.Start(context.WithoutCancel(ctx), net.JoinHostPort(loopback, "0"),
		scriptedmodel.Options{Token: token, Pace: scriptedPace})
	if err != nil {
		return err
	}
	s.closers.Add("scripted model", func(context.Context) error { return model.Close() })
	s.parts.watch("the scripted model", model.Done())
	s.overrides["ANTHROPIC_BASE_URL"] = model.URL
	s.overrides["ANTHROPIC_AUTH_TOKEN"] = token
	s.overrides["ANTHROPIC_API_KEY"] = "" // it would be told as not used
	s.overrides["OPENAI_BASE_URL"] = model.URL + "/v1"
	s.overrides["OPENAI_API_KEY"] = token
	s.layer["OPENAI_AGENT_MODEL"] = "scripted"
	return nil
}

func (s *stack) clientToken() string { return s.settings.backend.Secret("CLIENT_TOKEN").Reveal() }

func (s *stack) hasToken() bool {
	manager := s.settings.manager
	return manager.Secret("ANTHROPIC_AUTH_TOKEN").IsSet() || manager.Secret("ANTHROPIC_API_KEY").IsSet()
}

// ensureBucket makes the bucket of the embedded S3 server.
func (s *stack) ensureBucket(ctx context.Context) error {
	if !s.ownS3 {
		return nil
	}
	cfg := s.settings.backend
	store, err := objectstore.New(ctx, cfg.Msg.GetObjectStore(), cfg.Secret("S3_ACCESS_KEY"), cfg.Secret("S3_SECRET_KEY"))
	if err != nil {
		return err
	}
	defer store.Close()
	return store.EnsureBucket(ctx)
}

// startServices starts backend, manager and frontend, each once the one before
// it is ready.
func (s *stack) startServices(ctx context.Context) (Info, error) {
	s.opts.Progress("starting the backend")
	logger, err := followed(s, s.settings.backend)
	if err != nil {
		return Info{}, err
	}
	err = s.parts.start(ctx, &s.closers, "backend", func(ctx context.Context, ready func(string)) error {
		return backend.Run(ctx, s.settings.backend, backend.Options{Logger: logger, Ready: ready, Listener: s.backendListener})
	})
	if err != nil {
		return Info{}, err
	}
	s.opts.Progress("starting the executor manager, runtime " + s.runtimeName() + " (" + s.home.why + ")")
	if logger, err = followed(s, s.settings.manager); err != nil {
		return Info{}, err
	}
	err = s.parts.start(ctx, &s.closers, "executor manager", func(ctx context.Context, ready func(string)) error {
		return manager.Run(ctx, s.settings.manager, manager.Options{Logger: logger, Ready: ready, StopExecutors: true})
	})
	if err != nil {
		return Info{}, err
	}
	if logger, err = followed(s, s.settings.frontend); err != nil {
		return Info{}, err
	}
	err = s.parts.start(ctx, &s.closers, "frontend", func(ctx context.Context, ready func(string)) error {
		return frontend.Run(ctx, s.settings.frontend, frontend.Options{Logger: logger, Ready: ready, Listener: s.frontendListener})
	})
	return Info{
		URL: publicURL(s.frontendListener.Addr()), BackendURL: s.layer["BACKEND_URL"], DataDir: s.dir.path,
		ClientToken: s.clientToken(), SignInURL: localstack.SignInURL(s.frontendListener.Addr().String(), s.clientToken()),
		Runtime: s.runtimeName(), Why: s.home.why, Scripted: s.scripted, ModelToken: s.hasToken(),
	}, err
}

func (s *stack) runtimeName() string {
	if s.home.docker {
		return "docker"
	}
	return "process"
}

// portHint explains a server's refusal to start when its port is the reason.
func portHint(ctx context.Context, err error, service string, port int, setting string) error {
	if taken := free(ctx, service, loopback, port, setting); taken != nil {
		return taken
	}
	return fmt.Errorf("start the %s: %w", service, err)
}
