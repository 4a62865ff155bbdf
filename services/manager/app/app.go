// Package app is the executor manager: it takes runs from the queue, runs them
// in executors, forwards what they report, and exports their workspaces.
package app

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/lifecycle"
	"github.com/poco-ai/poco/services/internal/logging"
)

// shutdownGrace bounds the whole shutdown. It is more than an executor's stop
// grace plus what the worker waits for the backend.
const shutdownGrace = 45 * time.Second

// Config is the manager's configuration.
type Config = config.Loaded[*configv1.ManagerConfig]

// LoadConfig reads the configuration. The error lists all problems.
func LoadConfig(src config.Sources) (*Config, error) {
	return config.Load(&configv1.ManagerConfig{}, "manager", src)
}

// Options are what the program around the service decides.
type Options struct {
	// Logger receives the service's log; default slog.Default().
	Logger *slog.Logger
	// Ready is called once with the service's URL when the manager serves and
	// knows its runs.
	Ready func(baseURL string)
	// Listener is used instead of the configured addresses.
	Listener net.Listener
	// StopExecutors decides what becomes of running runs when ctx ends.
	//
	// False: their executors go on by themselves, until their lease runs out,
	// and the next start on the same WORKSPACE_ROOT adopts them.
	//
	// True: they end FAILED with reason EXECUTOR_LOST, and nothing is left
	// running. Either way a run that no executor was given is not ended: it goes
	// back into the queue.
	StopExecutors bool
}

// Run works until ctx ends and returns nil after a clean shutdown.
func Run(ctx context.Context, cfg *Config, opts Options) (err error) {
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	var closers lifecycle.Closers
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
		defer cancel()
		err = errors.Join(err, closers.Close(stop))
	}()
	m, err := build(ctx, cfg, opts, &closers)
	if err != nil {
		return err
	}
	if err := m.server.Start(); err != nil {
		return err
	}
	url := "http://" + m.server.Addr().String()
	opts.Logger.InfoContext(ctx, "manager serves", "url", url, logging.KeyWorkerID, m.identity.WorkerID, "runtime", m.runtime.Name())
	if err := m.checkExecutors(ctx, opts.Logger); err != nil {
		return err
	}

	working, stop := context.WithCancel(ctx)
	defer stop()
	worked := make(chan error, 1)
	go func() { worked <- lifecycle.Vital(working, "the worker", m.worker.Run) }()
	adopted := m.worker.Adopted()
	for {
		select {
		case err := <-worked: // stopped, or it could not begin
			return err
		case err := <-m.server.Failed():
			// Executors cannot report to it any more: it hands its runs over.
			stop()
			return errors.Join(err, <-worked)
		case <-adopted:
			adopted = nil
			if opts.Ready != nil {
				opts.Ready(url)
			}
		}
	}
}
