package docker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/poco-ai/poco/services/internal/dockerengine"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/manager/internal/runtime"
)

// engineTimeout bounds one call that makes or removes a container.
const engineTimeout = time.Minute

var errNoPort = errors.New("the engine published no port")

// Launch implements runtime.Runtime.
func (r *Runtime) Launch(ctx context.Context, spec runtime.Spec) (runtime.Executor, error) {
	if err := spec.Validate(); err != nil {
		return runtime.Executor{}, fmt.Errorf("docker runtime: %w", err)
	}
	if spec.Mode == "" {
		spec.Mode = runtime.ModeEphemeral
	}
	if err := ctx.Err(); err != nil {
		return runtime.Executor{}, err
	}
	if r.ctx.Err() != nil {
		return runtime.Executor{}, runtime.ErrClosed
	}
	for _, dir := range []string{spec.WorkspaceDir, spec.StateDir} {
		if err := giveTo(dir, r.WorkspaceOwner); err != nil {
			return runtime.Executor{}, fmt.Errorf("docker runtime: %s: %w", filepath.Base(dir), err)
		}
	}
	c, err := r.start(ctx, spec)
	if err != nil {
		return runtime.Executor{}, err
	}
	ready, cancel := context.WithTimeoutCause(ctx, r.cfg.StartTimeout, runtime.ErrStartTimeout)
	defer cancel()
	err = ctx.Err()
	if err == nil {
		err = runtime.AwaitReady(ready, spec, c.info.Addr, c.done)
	}
	if err != nil {
		return runtime.Executor{}, r.giveUp(ctx, c, err)
	}
	return c.info, nil
}

// giveUp removes an executor that did not get ready and tells why.
func (r *Runtime) giveUp(ctx context.Context, c *tracked, cause error) error {
	gone := runtime.IsGone(cause)
	err := r.Stop(context.WithoutCancel(ctx), c.info.ID, 0)
	if gone {
		cause = &runtime.ExitedError{Exit: c.exit}
	}
	return errors.Join(fmt.Errorf("docker runtime: launch executor: %w", cause), err)
}

// start makes and starts the container. The calls are not cut off when ctx
// ends: the engine might still carry them out, and nobody would remove the
// result. They take milliseconds; the caller looks at ctx afterwards.
func (r *Runtime) start(ctx context.Context, spec runtime.Spec) (*tracked, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), engineTimeout)
	defer cancel()
	options, err := r.containerOptions(spec)
	if err != nil {
		return nil, err
	}
	created, err := r.engine.ContainerCreate(ctx, options)
	switch {
	case cerrdefs.IsConflict(err):
		return nil, fmt.Errorf("docker runtime: %w: %s", runtime.ErrExists, spec.ExecutorID)
	case cerrdefs.IsNotFound(err):
		return nil, dockerengine.ImageMissing(r.engine, r.cfg.Image)
	case err != nil:
		return nil, r.abandon(ctx, options.Name, err)
	}
	for _, warning := range created.Warnings {
		logging.OfRun(r.log, spec.RunID, spec.SessionID).Warn("the engine warns", logging.KeyExecutorID, spec.ExecutorID, "warning", warning)
	}
	if _, err := r.engine.ContainerStart(ctx, created.ID, client.ContainerStartOptions{}); err != nil {
		return nil, r.abandon(ctx, created.ID, err)
	}
	inspected, err := r.engine.ContainerInspect(ctx, created.ID, client.ContainerInspectOptions{})
	if err != nil {
		return nil, r.abandon(ctx, created.ID, err)
	}
	info := r.executor(inspected.Container)
	if info.Alive && info.Addr == "" {
		return nil, r.abandon(ctx, created.ID, errNoPort)
	}
	c, err := r.track(created.ID, info)
	if err != nil {
		return nil, r.abandon(ctx, created.ID, err)
	}
	return c, nil
}

func (r *Runtime) abandon(ctx context.Context, container string, cause error) error {
	if !errors.Is(cause, runtime.ErrClosed) {
		cause = dockerengine.Explain(cause)
	}
	return errors.Join(cause, r.remove(ctx, container))
}

// executor reads what was launched from what the engine knows about it.
func (r *Runtime) executor(c container.InspectResponse) runtime.Executor {
	labels := c.Config.Labels
	e := runtime.Executor{
		ID: labels[LabelExecutor], RunID: labels[LabelRun], SessionID: labels[LabelSession], UserID: labels[LabelUser],
		Mode: runtime.Mode(labels[LabelMode]), WorkspaceDir: labels[LabelWorkspace],
		Handle: c.ID, Alive: c.State.Running,
	}
	if attempt, err := strconv.ParseInt(labels[LabelAttempt], 10, 32); err == nil {
		e.Attempt = int32(attempt)
	}
	for _, text := range []string{c.State.StartedAt, c.Created} {
		// One that was never started has the zero time.
		if at, err := time.Parse(time.RFC3339Nano, text); err == nil && at.Year() > 1 {
			e.StartedAt = at
			break
		}
	}
	if !e.Alive || c.NetworkSettings == nil {
		return e
	}
	for _, binding := range c.NetworkSettings.Ports[executorPort] {
		if port, err := strconv.Atoi(binding.HostPort); err == nil && port > 0 {
			e.Addr = "http://" + net.JoinHostPort(r.cfg.PublishedHost, binding.HostPort)
			break
		}
	}
	return e
}

// giveTo gives a folder and all in it to the user that containers run as, when
// the folder is not theirs yet. Only root can.
func giveTo(dir string, owner func() (uid, gid int)) error {
	uid, gid := owner()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	info, err := root.Stat(".")
	if err != nil {
		return err
	}
	if ownedBy(info, uid) || os.Getuid() != 0 {
		return nil
	}
	// The folder itself comes last: until then an interrupted walk is repeated.
	err = fs.WalkDir(root.FS(), ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == "." {
			return err
		}
		return root.Lchown(path, uid, gid)
	})
	if err != nil {
		return err
	}
	return root.Lchown(".", uid, gid)
}

var executorPort = network.MustParsePort(strconv.Itoa(containerPort) + "/tcp")
