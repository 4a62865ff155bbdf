package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/egress"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/manager/internal/runtime"
)

const (
	sigTerm = syscall.SIGTERM
	sigKill = syscall.SIGKILL
)

// markerVar is in the environment of an executor and of all that it starts.
// Processes are recognised by it when they left the executor's session and
// lost their parent.
const markerVar = "EXECUTOR_ID"

// inheritedFD is the executor's number of the listening socket: the first one
// after standard input, output and error.
const inheritedFD = 3

// passedOn are the variables of this process that an executor inherits. They
// describe the machine, as does what egress adds; the manager's own settings are
// not among them.
var passedOn = []string{
	"PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "LANG", "LC_ALL", "LC_CTYPE", "TZ",
}

// child is one executor, known from its launch or found again.
type child struct {
	state state
	proc  *proc         // nil when the process was gone before it was found
	done  chan struct{} // closed once exit is set and everything is gone
	exit  runtime.Exit
}

func (c *child) alive() bool {
	select {
	case <-c.done:
		return false
	default:
		return c.proc != nil
	}
}

func (c *child) executor() runtime.Executor {
	e := runtime.Executor{
		ID: c.state.ID, RunID: c.state.RunID, Attempt: c.state.Attempt, SessionID: c.state.SessionID, UserID: c.state.UserID,
		Mode: c.state.Mode, Handle: strconv.Itoa(c.state.PID), WorkspaceDir: c.state.WorkspaceDir,
		StartedAt: c.state.StartedAt, Alive: c.alive(),
	}
	if e.Alive {
		e.Addr = c.state.Addr
	}
	return e
}

// Launch implements runtime.Runtime. The listening socket is opened here and
// inherited, so connecting works before the executor runs and there is no race
// for the port.
func (r *Runtime) Launch(ctx context.Context, spec runtime.Spec) (runtime.Executor, error) {
	if err := spec.Validate(); err != nil {
		return runtime.Executor{}, fmt.Errorf("process runtime: %w", err)
	}
	if spec.Mode == "" {
		spec.Mode = runtime.ModeEphemeral
	}
	command, err := r.command()
	if err != nil {
		return runtime.Executor{}, err
	}
	for _, dir := range []string{spec.WorkspaceDir, spec.StateDir} {
		if info, err := os.Stat(dir); err != nil {
			return runtime.Executor{}, fmt.Errorf("process runtime: %w", err)
		} else if !info.IsDir() {
			return runtime.Executor{}, fmt.Errorf("process runtime: %s is not a folder", dir)
		}
	}
	if err := ctx.Err(); err != nil {
		return runtime.Executor{}, err
	}
	c, err := r.start(ctx, command, spec)
	if err != nil {
		return runtime.Executor{}, fmt.Errorf("process runtime: %w", err)
	}
	ready, cancel := context.WithTimeoutCause(ctx, r.cfg.StartTimeout, runtime.ErrStartTimeout)
	defer cancel()
	if err := runtime.AwaitReady(ready, spec, c.state.Addr, c.done); err != nil {
		return runtime.Executor{}, r.giveUp(ctx, c, err)
	}
	return c.executor(), nil
}

// giveUp removes an executor that did not get ready and tells why.
func (r *Runtime) giveUp(ctx context.Context, c *child, cause error) error {
	gone := runtime.IsGone(cause)
	err := r.Stop(context.WithoutCancel(ctx), c.state.ID, 0)
	if gone {
		cause = &runtime.ExitedError{Exit: c.exit}
	}
	return errors.Join(fmt.Errorf("process runtime: launch executor: %w", cause), err)
}

func (r *Runtime) start(ctx context.Context, command []string, spec runtime.Spec) (*child, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	socket, err := listener.(*net.TCPListener).File()
	if err != nil {
		return nil, err
	}
	defer socket.Close()

	addr := listener.Addr().(*net.TCPAddr)
	st := state{
		ID: spec.ExecutorID, WorkerID: r.cfg.WorkerID, RunID: spec.RunID, Attempt: spec.Attempt, SessionID: spec.SessionID,
		UserID: spec.UserID, Mode: spec.Mode, WorkspaceDir: spec.WorkspaceDir,
		Addr: "http://" + addr.String(), StartedAt: time.Now().UTC(),
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, runtime.ErrClosed
	}
	r.keepReserve()
	if err := r.note(func() error { return createState(r.statePath(st.ID), st) }); err != nil {
		return nil, err
	}
	c, err := r.spawn(command, environment(spec, addr.Port, &r.cfg), socket, st)
	if err != nil {
		return nil, errors.Join(err, r.forget(st.ID))
	}
	r.children[st.ID] = c
	r.wg.Go(func() { r.monitor(r.ctx, c) })
	return c, nil
}

// spawn starts the process in a session of its own, so that neither a signal to
// the manager's terminal nor the manager's end reaches it.
func (r *Runtime) spawn(command, env []string, socket *os.File, st state) (*child, error) {
	output, err := os.OpenFile(r.logPath(st.ID), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer output.Close()
	//nolint:noctx // it outlives every context: Stop ends it
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = env
	// Not the workspace: an .env file in it is the agent's, not a setting.
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = output, output
	cmd.ExtraFiles = []*os.File{socket}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{state: st, done: make(chan struct{})}
	c.state.PID = cmd.Process.Pid
	// Nobody else reaps it before monitor does, so the number is still its own.
	c.state.Identity, err = identity(c.state.PID)
	if err == nil {
		c.proc, err = openProc(c.state.PID, c.state.Identity)
	}
	if err == nil {
		err = r.note(func() error { return replaceState(r.statePath(st.ID), c.state) })
	}
	if err != nil {
		killErr := cmd.Process.Kill()
		_, waitErr := cmd.Process.Wait()
		c.proc.close()
		return nil, errors.Join(err, killErr, waitErr)
	}
	if err := cmd.Process.Release(); err != nil {
		r.log.Warn("releasing an executor's handle failed", logging.KeyExecutorID, st.ID, logging.KeySessionID, st.SessionID, logging.KeyError, err)
	}
	return c, nil
}

// executorGC is the executors' GOGC. One lives for a run and needs little
// memory; collecting garbage during its start would take longer than the start.
const executorGC = 400

func environment(spec runtime.Spec, port int, cfg *Config) []string {
	values := egress.Environment()
	for _, name := range passedOn {
		if value, ok := os.LookupEnv(name); ok { //nolint:forbidigo // passed on, not read: these are the machine's, not settings
			values[name] = value
		}
	}
	for name, value := range spec.Env {
		values[name] = value
	}
	if cfg.CLIPath != "" {
		values["CLAUDE_CLI_PATH"] = cfg.CLIPath
	}
	if cfg.AgentsDir != "" {
		values["AGENTS_DIR"] = cfg.AgentsDir
	}
	values[markerVar] = spec.ExecutorID
	values["EXECUTOR_TOKEN"] = config.Hashed(spec.Token)
	values["EXECUTOR_HOST"] = "127.0.0.1"
	values["EXECUTOR_PORT"] = strconv.Itoa(port)
	values["EXECUTOR_LISTEN_FD"] = strconv.Itoa(inheritedFD)
	values["WORKSPACE_PATH"] = spec.WorkspaceDir
	values["EXECUTOR_STATE_PATH"] = spec.StateDir
	values["POCO_ENV_FILE"] = os.DevNull
	values["GOGC"] = strconv.Itoa(executorGC)
	env := make([]string, 0, len(values))
	for name, value := range values {
		env = append(env, name+"="+value)
	}
	return env
}

// monitor waits for the end of one executor, kills what it left behind, and
// tells the watchers.
func (r *Runtime) monitor(ctx context.Context, c *child) {
	exit := runtime.Exit{Code: runtime.CodeUnknown, Note: "it ended while no manager was watching"}
	if c.proc != nil {
		defer c.proc.close()
		if err := c.proc.wait(ctx); err != nil {
			if ctx.Err() == nil {
				r.log.Error("watching an executor failed", logging.KeyExecutorID, c.state.ID, logging.KeySessionID, c.state.SessionID, logging.KeyError, err)
			}
			return
		}
		exit = c.proc.exit()
	}
	if err := r.sweep(ctx, c, false); err != nil {
		r.log.Error("an executor left processes behind", logging.KeyExecutorID, c.state.ID, logging.KeySessionID, c.state.SessionID, logging.KeyError, err)
	}
	exit.LogTail = logTail(r.logPath(c.state.ID))
	c.exit = exit
	close(c.done)
}

// sweep kills everything an executor started, and itself too when asked. It is
// not cut off by Close: half a family is worse than none.
func (r *Runtime) sweep(ctx context.Context, c *child, leaderToo bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sweepTimeout)
	defer cancel()
	f := family{marker: markerVar + "=" + c.state.ID, leaderToo: leaderToo}
	if c.proc != nil {
		f.leader, f.identity = c.state.PID, c.state.Identity
	}
	if err := f.kill(ctx); err != nil {
		return fmt.Errorf("process runtime: end executor %s: %w", c.state.ID, err)
	}
	return nil
}
