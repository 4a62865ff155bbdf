// Package selection opens the runtime that the settings ask for.
package selection

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/manager/internal/runtime"
	"github.com/poco-ai/poco/services/manager/internal/runtime/docker"
	"github.com/poco-ai/poco/services/manager/internal/runtime/process"
)

// Options is what the settings do not say.
type Options struct {
	// WorkerID owns the executors.
	WorkerID string
	// WorkspaceRoot holds the process runtime's state, in .worker/executors, and
	// what the docker runtime mounts besides workspaces.
	WorkspaceRoot string
	// CallbackURL is where executors reach the manager.
	CallbackURL string
	Logger      *slog.Logger
}

// Open opens the runtime that EXECUTOR_RUNTIME names and tells why it is that
// one. With "auto" it is docker when the engine answers and has the image, else
// process. A runtime asked for by name is opened also when it cannot launch
// anything now: its Check says what is missing.
func Open(ctx context.Context, cfg *configv1.RuntimeConfig, opts Options) (rt runtime.Runtime, why string, err error) {
	switch cfg.GetRuntime() {
	case "docker":
		rt, err = openDocker(cfg, opts)
		return rt, "EXECUTOR_RUNTIME is docker", err
	case "process":
		rt, err = openProcess(cfg, opts)
		return rt, "EXECUTOR_RUNTIME is process", err
	case "auto", "":
		return openAuto(ctx, cfg, opts)
	}
	return nil, "", fmt.Errorf("EXECUTOR_RUNTIME %q is not known: use auto, docker or process", cfg.GetRuntime())
}

func openAuto(ctx context.Context, cfg *configv1.RuntimeConfig, opts Options) (runtime.Runtime, string, error) {
	missing := "EXECUTOR_IMAGE is not set"
	if cfg.GetExecutorImage() != "" {
		containers, err := openDocker(cfg, opts)
		if err == nil {
			if err = containers.Check(ctx); err == nil {
				return containers, "the engine answers and has the image " + cfg.GetExecutorImage(), nil
			}
			if closeErr := containers.Close(); closeErr != nil {
				return nil, "", closeErr
			}
			if ctx.Err() != nil {
				return nil, "", ctx.Err()
			}
		}
		missing = err.Error()
	}
	rt, err := openProcess(cfg, opts)
	return rt, "docker is not usable: " + missing, err
}

func openDocker(cfg *configv1.RuntimeConfig, opts Options) (runtime.Runtime, error) {
	rt, err := docker.New(docker.Config{
		WorkerID: opts.WorkerID, Image: cfg.GetExecutorImage(),
		PublishedHost: cfg.GetExecutorPublishedHost(), PublishAddress: cfg.GetExecutorPublishAddress(),
		AuthoritiesDir: filepath.Join(opts.WorkspaceRoot, ".worker", "authorities"), Direct: []string{opts.CallbackURL},
		MemoryBytes: cfg.GetMemoryLimit(), CPUs: cfg.GetCpuLimit(), PidsLimit: cfg.GetPidsLimit(),
		StartTimeout: cfg.GetStartTimeout().AsDuration(), Logger: opts.Logger,
	})
	if err != nil {
		return nil, err // not rt: a nil pointer in an interface is not nil
	}
	return rt, nil
}

func openProcess(cfg *configv1.RuntimeConfig, opts Options) (runtime.Runtime, error) {
	rt, err := process.New(process.Config{
		WorkerID: opts.WorkerID, StateDir: filepath.Join(opts.WorkspaceRoot, ".worker", "executors"),
		Command: strings.Fields(cfg.GetExecutorCommand()), CLIPath: cfg.GetClaudeCliPath(), AgentsDir: cfg.GetAgentsDir(),
		StartTimeout: cfg.GetStartTimeout().AsDuration(), Logger: opts.Logger,
	})
	if err != nil {
		return nil, err
	}
	return rt, nil
}
