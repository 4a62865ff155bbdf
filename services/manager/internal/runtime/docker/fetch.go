package docker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/poco-ai/poco/services/internal/dockerengine"
	"github.com/poco-ai/poco/services/internal/probe"
	"github.com/poco-ai/poco/services/manager/internal/runtime"
)

// LabelProbe is on containers that only ask for a URL; it names the worker.
const LabelProbe = "ai.poco.probe"

// fetchTimeout bounds the whole: a container's start, its question, its removal.
// An image of somebody else's may run and never ask.
const fetchTimeout = 30 * time.Second

// Fetch implements runtime.Runtime: a container of the executor image, in the
// network that executors are in, asks for the URL and is removed.
func (r *Runtime) Fetch(ctx context.Context, url string) (answer string, err error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	stop := context.AfterFunc(r.ctx, cancel)
	defer stop()
	if err := r.removeProbes(ctx); err != nil {
		return "", err
	}
	created, err := r.engine.ContainerCreate(ctx, r.probeOptions(url))
	if err != nil {
		return "", dockerengine.Explain(err)
	}
	defer func() { err = errors.Join(err, r.remove(context.WithoutCancel(ctx), created.ID)) }()
	if _, err := r.engine.ContainerStart(ctx, created.ID, client.ContainerStartOptions{}); err != nil {
		return "", dockerengine.Explain(err)
	}
	exit, err := r.waitExit(ctx, created.ID, time.Time{})
	switch {
	case err != nil:
		return "", dockerengine.Explain(err)
	case exit.Code == probe.ExitUnreachable:
		return "", fmt.Errorf("%w: a container of %s asked: %s", runtime.ErrUnreachable, r.cfg.Image, exit.LogTail)
	case exit.Code != 0:
		return "", fmt.Errorf("a container of %s could not ask for %s (%w)", r.cfg.Image, url, &runtime.ExitedError{Exit: exit})
	}
	return exit.LogTail, nil
}

// removeProbes removes what a manager that was killed while it probed left.
func (r *Runtime) removeProbes(ctx context.Context) error {
	found, err := r.engine.ContainerList(ctx, client.ContainerListOptions{
		All: true, Filters: make(client.Filters).Add("label", LabelProbe+"="+r.cfg.WorkerID),
	})
	if err != nil {
		return dockerengine.Explain(err)
	}
	for _, c := range found.Items {
		if err := r.remove(ctx, c.ID); err != nil {
			return dockerengine.Explain(err)
		}
	}
	return nil
}

func (r *Runtime) probeOptions(url string) client.ContainerCreateOptions {
	uid, gid := r.WorkspaceOwner()
	return client.ContainerCreateOptions{
		Config: &container.Config{
			Image: r.cfg.Image, User: fmt.Sprintf("%d:%d", uid, gid), Cmd: []string{probe.Command, url},
			Labels: map[string]string{LabelProbe: r.cfg.WorkerID},
		},
		HostConfig: &container.HostConfig{
			ExtraHosts: extraHosts(), CapDrop: []string{"ALL"}, SecurityOpt: []string{"no-new-privileges"}, ReadonlyRootfs: true,
			LogConfig: logConfig(),
		},
	}
}
