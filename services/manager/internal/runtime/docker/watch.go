package docker

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/poco-ai/poco/services/internal/dockerengine"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/retry"
	"github.com/poco-ai/poco/services/manager/internal/runtime"
)

const (
	// The back-off between calls to an engine that does not answer.
	engineFirstDelay = 50 * time.Millisecond
	engineMaxDelay   = 2 * time.Second

	// logTailLines is how much of a log is read for Exit.LogTail, which is then
	// cut by bytes; logReadLimit bounds the reading, whatever long the lines are.
	logTailLines = 200
	logReadLimit = 4 << 20
	logTimeout   = 10 * time.Second

	// signalBase is what engines add to a signal's number in exit codes.
	signalBase = 128
)

// tracked is a container that somebody watches or stops.
type tracked struct {
	containerID string
	info        runtime.Executor
	done        chan struct{} // closed once exit is set
	exit        runtime.Exit
	removing    sync.Mutex
}

// track begins to watch a container, once.
func (r *Runtime) track(containerID string, info runtime.Executor) (*tracked, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, runtime.ErrClosed
	}
	if c, ok := r.containers[info.ID]; ok {
		return c, nil
	}
	c := &tracked{containerID: containerID, info: info, done: make(chan struct{})}
	r.containers[info.ID] = c
	r.wg.Go(func() { r.monitor(r.ctx, c) })
	return c, nil
}

// find returns a tracked container, or begins to track one of this worker that
// the engine still has.
func (r *Runtime) find(ctx context.Context, id string) (*tracked, error) {
	r.mu.Lock()
	c, ok := r.containers[id]
	closed := r.closed
	r.mu.Unlock()
	switch {
	case closed:
		return nil, runtime.ErrClosed
	case ok:
		return c, nil
	case id == "":
		return nil, runtime.ErrNotFound
	}
	inspected, err := r.engine.ContainerInspect(ctx, containerName(id), client.ContainerInspectOptions{})
	if cerrdefs.IsNotFound(err) || err == nil && inspected.Container.Config.Labels[LabelWorker] != r.cfg.WorkerID {
		return nil, fmt.Errorf("%w: %s", runtime.ErrNotFound, id)
	}
	if err != nil {
		return nil, dockerengine.Explain(err)
	}
	return r.track(inspected.Container.ID, r.executor(inspected.Container))
}

// monitor waits for the end of a container and tells the watchers how it was.
func (r *Runtime) monitor(ctx context.Context, c *tracked) {
	delays := retry.BackOff(engineFirstDelay, engineMaxDelay)
	for {
		exit, err := r.waitExit(ctx, c.containerID, c.info.StartedAt)
		if err == nil {
			c.exit = exit
			close(c.done)
			return
		}
		if ctx.Err() != nil {
			return
		}
		delay := delays.NextBackOff()
		r.log.Warn("watching an executor's container failed, trying again",
			logging.KeyExecutorID, c.info.ID, logging.KeySessionID, c.info.SessionID, logging.KeyError, err, "delay", delay)
		if !retry.Pause(ctx, delay) {
			return
		}
	}
}

// waitExit blocks until what a container has run since a time does not run any
// more. An error is the engine's: the container may go on.
func (r *Runtime) waitExit(ctx context.Context, id string, since time.Time) (runtime.Exit, error) {
	wait := r.engine.ContainerWait(ctx, id, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	var err error
	// One of the two comes also when the context ends; waiting for the context
	// itself would leave the client's goroutine behind.
	select {
	case <-wait.Result:
	case err = <-wait.Error:
	}
	var now container.InspectResponse
	if err == nil {
		var inspected client.ContainerInspectResult
		inspected, err = r.engine.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
		now = inspected.Container
	}
	if cerrdefs.IsNotFound(err) {
		return runtime.Exit{Code: runtime.CodeUnknown, Note: "its container was removed by somebody else"}, nil
	}
	if err != nil {
		return runtime.Exit{}, err
	}
	exit := exitOf(now.State)
	if now.State.Running {
		if r.executor(now).StartedAt.Equal(since) {
			return runtime.Exit{}, fmt.Errorf("container %s runs although the engine said that it ended", id)
		}
		// What runs in it now has no run, and is reached elsewhere.
		exit = runtime.Exit{Code: runtime.CodeUnknown, Note: "its container was started again by somebody else"}
	}
	exit.LogTail = r.logTail(ctx, id)
	return exit, nil
}

func exitOf(state *container.State) runtime.Exit {
	exit := runtime.Exit{Code: state.ExitCode, Note: state.Error}
	if state.Status == container.StateCreated {
		exit.Code = runtime.CodeUnknown
		if exit.Note == "" {
			exit.Note = "it was never started"
		}
		return exit
	}
	if signal := exit.Code - signalBase; signal > 0 && signal < 32 {
		exit.Signal = syscall.Signal(signal)
	}
	// The engine says so for ever when any process in it was, a tool for instance.
	exit.OOMKilled = state.OOMKilled && exit.Signal == syscall.SIGKILL
	return exit
}

// logTail returns the end of a container's log, or what went wrong with it: an
// exit without its log is better than none.
func (r *Runtime) logTail(ctx context.Context, id string) string {
	ctx, cancel := context.WithTimeout(ctx, logTimeout)
	defer cancel()
	logs, err := r.engine.ContainerLogs(ctx, id, client.ContainerLogsOptions{
		ShowStdout: true, ShowStderr: true, Tail: strconv.Itoa(logTailLines),
	})
	if err != nil {
		return fmt.Sprintf("(its log cannot be read: %v)", err)
	}
	defer logs.Close()
	var text bytes.Buffer
	if _, err := stdcopy.StdCopy(&text, &text, io.LimitReader(logs, logReadLimit)); err != nil && text.Len() == 0 {
		return fmt.Sprintf("(its log cannot be read: %v)", err)
	}
	tail := text.Bytes()
	tail = tail[max(0, len(tail)-runtime.LogTailBytes):]
	return strings.ToValidUTF8(string(tail), "\uFFFD")
}
