// Package process runs executors as child processes, for machines without a
// container engine.
//
// It isolates nothing: an executor and the agent in it can do whatever the
// manager's own user can do. What it does promise is that nothing is left when
// an executor is gone, and that executors outlive the manager's process.
package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/poco-ai/poco/services/internal/claudecode"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/probe"
	"github.com/poco-ai/poco/services/manager/internal/runtime"
)

// Config says how executors are started.
type Config struct {
	// WorkerID owns the executors.
	WorkerID string
	// StateDir holds a file for each executor, by which it is found again; it
	// is made when missing.
	StateDir string
	// Command is the executor program and its arguments; DefaultCommand when empty.
	Command []string
	// CLIPath is the Claude Code CLI (CLAUDE_CLI_PATH); "claude" on PATH when empty.
	CLIPath string
	// AgentsDir has the other agents (AGENTS_DIR); only those on PATH when empty.
	AgentsDir string
	// StartTimeout bounds the time until an executor answers; 0 means DefaultStartTimeout.
	StartTimeout time.Duration
	// Logger; slog.Default() when nil.
	Logger *slog.Logger
}

// DefaultStartTimeout bounds the time until an executor answers.
const DefaultStartTimeout = time.Minute

const (
	// maxLogBytes bounds an executor's log file, which keeps keptLogBytes when
	// it is cut; logCheckInterval is how often its size is looked at.
	maxLogBytes      = 8 << 20
	keptLogBytes     = 1 << 20
	logCheckInterval = 10 * time.Second
	// sweepTimeout bounds the killing of what an executor started: only
	// processes stuck in the kernel take longer than milliseconds.
	sweepTimeout = 10 * time.Second
)

// Runtime is the process runtime.
type Runtime struct {
	cfg    Config
	log    *slog.Logger
	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	children map[string]*child
}

var _ runtime.Runtime = (*Runtime)(nil)

// New makes the state folder and looks for nothing else: Check does. It warns
// in the log that nothing is isolated.
func New(cfg Config) (*Runtime, error) {
	if cfg.WorkerID == "" || cfg.StateDir == "" {
		return nil, errors.New("process runtime: worker id and state folder are needed")
	}
	if cfg.StartTimeout <= 0 {
		cfg.StartTimeout = DefaultStartTimeout
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("process runtime: state folder: %w", err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	r := &Runtime{cfg: cfg, log: cfg.Logger, ctx: ctx, cancel: cancel, children: map[string]*child{}}
	r.log.Warn("the process runtime isolates nothing: agents can do whatever this user can do; set EXECUTOR_RUNTIME=docker for a sandbox")
	r.wg.Go(r.boundLogs)
	return r, nil
}

// Name implements runtime.Runtime.
func (r *Runtime) Name() string { return "process" }

// WorkspaceOwner implements runtime.Runtime: executors run as the caller's user.
func (r *Runtime) WorkspaceOwner() (uid, gid int) { return -1, -1 }

// Check implements runtime.Runtime: the executor program and the CLI are there.
func (r *Runtime) Check(context.Context) error {
	if _, err := r.command(); err != nil {
		return err
	}
	if _, err := claudecode.Find(r.cfg.CLIPath, ""); err != nil {
		return fmt.Errorf("%w: %w", runtime.ErrCLIMissing, err)
	}
	return nil
}

// Fetch implements runtime.Runtime: executors see this machine as this process
// does.
func (r *Runtime) Fetch(ctx context.Context, url string) (string, error) {
	answer, err := probe.Get(ctx, url)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", runtime.ErrUnreachable, err)
	}
	return answer, err
}

func (r *Runtime) command() ([]string, error) {
	command := r.cfg.Command
	if len(command) == 0 {
		return DefaultCommand()
	}
	path, err := exec.LookPath(command[0])
	if err != nil {
		return nil, fmt.Errorf("%w: EXECUTOR_COMMAND %q: %v", runtime.ErrExecutorMissing, command[0], err) //nolint:errorlint // the kind is what programs look at
	}
	return append([]string{path}, command[1:]...), nil
}

// DefaultCommand finds this installation's own executor: this program with the
// argument "executor" when it is poco, else poco-executor or poco beside this
// program, else on PATH.
func DefaultCommand() ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("%w: %v", runtime.ErrExecutorMissing, err) //nolint:errorlint // the kind is what programs look at
	}
	if filepath.Base(self) == "poco" {
		return []string{self, "executor"}, nil
	}
	for _, candidate := range [][]string{
		{filepath.Join(filepath.Dir(self), "poco-executor")},
		{filepath.Join(filepath.Dir(self), "poco"), "executor"},
		{"poco-executor"},
		{"poco", "executor"},
	} {
		if path, err := exec.LookPath(candidate[0]); err == nil {
			return append([]string{path}, candidate[1:]...), nil
		}
	}
	return nil, fmt.Errorf("%w: no poco-executor or poco beside %s or on PATH: set EXECUTOR_COMMAND", runtime.ErrExecutorMissing, self)
}

// Watch implements runtime.Runtime.
func (r *Runtime) Watch(ctx context.Context, id string) (runtime.Exit, error) {
	c, err := r.find(id)
	if err != nil {
		return runtime.Exit{}, err
	}
	if err := runtime.AwaitEnd(ctx, c.done, r.ctx.Done()); err != nil {
		return runtime.Exit{}, err
	}
	return c.exit, nil
}

// Stop implements runtime.Runtime.
func (r *Runtime) Stop(ctx context.Context, id string, grace time.Duration) error {
	c, err := r.find(id)
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

// stop ends one executor and frees what belonged to it. Several at once do no
// harm: the shortest grace counts.
func (r *Runtime) stop(ctx context.Context, c *child, grace time.Duration) error {
	if grace > 0 && c.alive() {
		if err := c.proc.signal(sigTerm); err != nil {
			r.log.Warn("asking an executor to end failed", logging.KeyExecutorID, c.state.ID, logging.KeySessionID, c.state.SessionID, logging.KeyError, err)
		}
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-c.done:
		case <-timer.C:
		case <-ctx.Done():
			return runtime.ErrClosed
		}
	}
	if c.alive() {
		if err := r.sweep(ctx, c, true); err != nil {
			return err
		}
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		return runtime.ErrClosed
	}
	// What is left after the executor ended was swept before done was closed;
	// an error of that is found again here.
	if err := r.sweep(ctx, c, false); err != nil {
		return err
	}
	if err := r.forget(c.state.ID); err != nil {
		return err
	}
	r.mu.Lock()
	delete(r.children, c.state.ID)
	r.mu.Unlock()
	return nil
}

// List implements runtime.Runtime.
func (r *Runtime) List(_ context.Context, sessionID string) ([]runtime.Executor, error) {
	entries, err := os.ReadDir(r.cfg.StateDir)
	if err != nil {
		return nil, fmt.Errorf("process runtime: list executors: %w", err)
	}
	var list []runtime.Executor
	for _, entry := range entries {
		id, ok := strings.CutSuffix(entry.Name(), stateSuffix)
		if !ok {
			continue
		}
		c, err := r.find(id)
		if errors.Is(err, runtime.ErrNotFound) {
			continue // another worker's, or stopped in the meantime
		}
		if err != nil {
			return nil, err
		}
		if sessionID == "" || c.state.SessionID == sessionID {
			list = append(list, c.executor())
		}
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
	return nil
}

// find returns a known executor, or one of this worker that the state folder
// still has.
func (r *Runtime) find(id string) (*child, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, runtime.ErrClosed
	}
	if c, ok := r.children[id]; ok {
		return c, nil
	}
	if id == "" || id != filepath.Base(id) {
		return nil, fmt.Errorf("%w: %q", runtime.ErrNotFound, id)
	}
	st, err := readState(r.statePath(id))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: %s", runtime.ErrNotFound, id)
	case err != nil:
		return nil, err
	case st.WorkerID != r.cfg.WorkerID:
		return nil, fmt.Errorf("%w: %s", runtime.ErrNotFound, id)
	}
	c := &child{state: st, done: make(chan struct{})}
	c.proc, err = openProc(st.PID, st.Identity)
	if err != nil && !errors.Is(err, errNoProcess) {
		return nil, fmt.Errorf("process runtime: look at executor %s: %w", id, err)
	}
	r.children[id] = c
	r.wg.Go(func() { r.monitor(r.ctx, c) })
	return c, nil
}

// boundLogs keeps the executors' log files small.
func (r *Runtime) boundLogs() {
	ticker := time.NewTicker(logCheckInterval)
	defer ticker.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-ticker.C:
		}
		r.mu.Lock()
		ids := make([]string, 0, len(r.children))
		for id := range r.children {
			ids = append(ids, id)
		}
		r.mu.Unlock()
		for _, id := range ids {
			if err := cutLog(r.logPath(id), maxLogBytes, keptLogBytes); err != nil {
				r.log.Warn("cutting an executor's log failed", logging.KeyExecutorID, id, logging.KeyError, err)
			}
		}
	}
}
