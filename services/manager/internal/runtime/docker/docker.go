// Package docker runs executors as hardened containers through the Docker
// Engine API.
package docker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/poco-ai/poco/services/internal/dockerengine"
	"github.com/poco-ai/poco/services/manager/internal/runtime"
)

// Config says how containers are made. The settings are those of RuntimeConfig
// in proto/poco/config/v1.
type Config struct {
	// WorkerID owns the containers.
	WorkerID string
	// Image is the executor image (EXECUTOR_IMAGE).
	Image string
	// PublishedHost is where published ports are reached (EXECUTOR_PUBLISHED_HOST).
	PublishedHost string
	// PublishAddress is the address the engine publishes on (EXECUTOR_PUBLISH_ADDRESS).
	PublishAddress string
	// MemoryBytes, CPUs and PidsLimit bound one container; 0 means no limit.
	MemoryBytes int64
	CPUs        float64
	PidsLimit   int64
	// AuthoritiesDir is where the machine's certificate authorities are put for
	// containers, a path of the Docker host. Direct are URLs that containers reach
	// without the machine's proxy.
	AuthoritiesDir string
	Direct         []string
	// StartTimeout bounds the time until an executor answers; 0 means DefaultStartTimeout.
	StartTimeout time.Duration
	// Logger; slog.Default() when nil.
	Logger *slog.Logger
}

// DefaultStartTimeout bounds the time until an executor answers.
const DefaultStartTimeout = time.Minute

// Labels of every container, by which it is found again.
const (
	LabelWorker    = "ai.poco.worker"
	LabelExecutor  = "ai.poco.executor"
	LabelRun       = "ai.poco.run"
	LabelAttempt   = "ai.poco.attempt"
	LabelSession   = "ai.poco.session"
	LabelUser      = "ai.poco.user"
	LabelMode      = "ai.poco.mode"
	LabelWorkspace = "ai.poco.workspace"
)

// imageUser is the user and group of the executor image. A manager that is not
// root cannot give files to it; its containers run as the manager's own user.
const imageUser = 1000

// Runtime is the docker runtime.
type Runtime struct {
	cfg    Config
	log    *slog.Logger
	engine *client.Client
	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup

	mu         sync.Mutex
	closed     bool
	containers map[string]*tracked
}

var _ runtime.Runtime = (*Runtime)(nil)

// New connects lazily: Check tells whether the engine is there. The engine is
// the one that DOCKER_HOST and its sisters name, else the local one.
func New(cfg Config) (*Runtime, error) {
	if cfg.WorkerID == "" {
		return nil, errors.New("docker runtime: a worker id is needed")
	}
	if cfg.Image == "" {
		return nil, fmt.Errorf("%w: set EXECUTOR_IMAGE to the executor image", runtime.ErrImageMissing)
	}
	if cfg.PublishedHost == "" {
		cfg.PublishedHost = "localhost"
	}
	if cfg.PublishAddress == "" {
		cfg.PublishAddress = "127.0.0.1"
	}
	if cfg.StartTimeout <= 0 {
		cfg.StartTimeout = DefaultStartTimeout
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	engine, err := dockerengine.New()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	return &Runtime{
		cfg: cfg, log: cfg.Logger, engine: engine, ctx: ctx, cancel: cancel, containers: map[string]*tracked{},
	}, nil
}

// Name implements runtime.Runtime.
func (r *Runtime) Name() string { return "docker" }

// WorkspaceOwner implements runtime.Runtime.
func (r *Runtime) WorkspaceOwner() (uid, gid int) {
	if uid = os.Getuid(); uid > 0 {
		return uid, os.Getgid()
	}
	return imageUser, imageUser
}

// Check implements runtime.Runtime: the engine answers and has the image.
func (r *Runtime) Check(ctx context.Context) error {
	return dockerengine.Check(ctx, r.engine, r.cfg.Image)
}

// Watch implements runtime.Runtime.
func (r *Runtime) Watch(ctx context.Context, id string) (runtime.Exit, error) {
	c, err := r.find(ctx, id)
	if err != nil {
		return runtime.Exit{}, err
	}
	if err := runtime.AwaitEnd(ctx, c.done, r.ctx.Done()); err != nil {
		return runtime.Exit{}, err
	}
	return c.exit, nil
}

// Stop implements runtime.Runtime. The engine counts grace in whole seconds, so
// it is rounded up.
func (r *Runtime) Stop(ctx context.Context, id string, grace time.Duration) error {
	c, err := r.find(ctx, id)
	if errors.Is(err, runtime.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return runtime.CarryThrough(ctx, r.background, func() error { return r.stop(r.ctx, c, grace) })
}

// background runs work in a goroutine that Close waits for; false after Close.
func (r *Runtime) background(work func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.wg.Go(work)
	}
	return !r.closed
}

func (r *Runtime) stop(ctx context.Context, c *tracked, grace time.Duration) error {
	seconds := int((grace + time.Second - 1) / time.Second)
	_, err := r.engine.ContainerStop(ctx, c.containerID, client.ContainerStopOptions{Timeout: &seconds})
	if err != nil && !cerrdefs.IsNotFound(err) && !cerrdefs.IsNotModified(err) {
		return r.stopError(err)
	}
	// The exit and the log are read before the container goes.
	select {
	case <-c.done:
	case <-ctx.Done():
		return runtime.ErrClosed
	}
	c.removing.Lock()
	defer c.removing.Unlock()
	if err := r.remove(ctx, c.containerID); err != nil {
		return r.stopError(err)
	}
	r.mu.Lock()
	delete(r.containers, c.info.ID)
	r.mu.Unlock()
	return nil
}

func (r *Runtime) stopError(err error) error {
	if r.ctx.Err() != nil {
		return runtime.ErrClosed
	}
	return dockerengine.Explain(err)
}

// remove removes a container by id or name, whatever its state; nil when there
// is none.
func (r *Runtime) remove(ctx context.Context, container string) error {
	_, err := r.engine.ContainerRemove(ctx, container, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if cerrdefs.IsConflict(err) { // somebody else is removing it
		return r.waitRemoved(ctx, container)
	}
	if cerrdefs.IsNotFound(err) {
		return nil
	}
	return err
}

func (r *Runtime) waitRemoved(ctx context.Context, id string) error {
	wait := r.engine.ContainerWait(ctx, id, client.ContainerWaitOptions{Condition: container.WaitConditionRemoved})
	select {
	case <-wait.Result:
		return nil
	case err := <-wait.Error:
		if cerrdefs.IsNotFound(err) {
			return nil
		}
		return err
	}
}

// List implements runtime.Runtime.
func (r *Runtime) List(ctx context.Context, sessionID string) ([]runtime.Executor, error) {
	if r.ctx.Err() != nil {
		return nil, runtime.ErrClosed
	}
	filters := make(client.Filters).Add("label", LabelWorker+"="+r.cfg.WorkerID)
	if sessionID != "" {
		filters.Add("label", LabelSession+"="+sessionID)
	}
	found, err := r.engine.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filters})
	if err != nil {
		return nil, dockerengine.Explain(err)
	}
	list := make([]runtime.Executor, 0, len(found.Items))
	for _, summary := range found.Items {
		inspected, err := r.engine.ContainerInspect(ctx, summary.ID, client.ContainerInspectOptions{})
		if cerrdefs.IsNotFound(err) || err == nil && inspected.Container.State.Status == container.StateRemoving {
			continue
		}
		if err != nil {
			return nil, dockerengine.Explain(err)
		}
		list = append(list, r.executor(inspected.Container))
	}
	slices.SortStableFunc(list, func(a, b runtime.Executor) int { return a.StartedAt.Compare(b.StartedAt) })
	return list, nil
}

// Close implements runtime.Runtime.
func (r *Runtime) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel(runtime.ErrClosed)
	r.wg.Wait()
	return r.engine.Close()
}
