// Package runtime says what a place that executors run in must do. The manager
// knows nothing else about containers or processes.
//
// Implementations are in docker and process; every one of them, the scripted
// one of runtimetest included, passes the contract suite runtimetest.Contract.
package runtime

import (
	"context"
	"fmt"
	"log/slog"
	"syscall"
	"time"

	"github.com/poco-ai/poco/services/internal/logging"
)

// Runtime launches executors, tells when they end, and stops them.
//
// Order: Check and Fetch may be called at any time. Launch comes first for an executor,
// or List finds it after a restart; from then on Watch and Stop may be called
// with its id until Stop has returned nil. Every executor that Launch or List
// returned must be stopped in the end, also one that has already exited: Stop
// is what frees its container, files and port. Nothing is removed before, so
// that how it ended is never lost.
//
// Concurrency: all methods may be called at the same time from many
// goroutines, also for the same executor. Any number of Watch calls may wait
// for one executor.
//
// Ownership: a Runtime belongs to one worker id and never sees or touches the
// executors of another. Executors outlive their Runtime: Close ends no
// executor, and a new Runtime with the same worker id finds them again by List.
type Runtime interface {
	// Name is "docker", "process", or what a test calls itself.
	Name() string

	// Check tells whether executors could be launched now. Its error wraps
	// ErrEngineUnavailable, ErrImageMissing, ErrCLIMissing or
	// ErrExecutorMissing where that is the cause; the text names the fix.
	Check(ctx context.Context) error

	// Fetch returns what a URL answers to an executor: it is asked from where
	// one would run. The error wraps ErrUnreachable when nobody answers there;
	// any other means that it could not be asked, which says nothing about the
	// URL.
	Fetch(ctx context.Context, url string) (string, error)

	// Launch starts an executor and returns when it answers GET /healthz. When
	// it does not (it exits, the start timeout passes, ctx is done) nothing is
	// left behind and the error says why, with the end of the executor's log.
	//
	// spec.ExecutorID must be new. Launch is not idempotent: after an error the
	// caller takes a new id.
	Launch(ctx context.Context, spec Spec) (Executor, error)

	// Watch blocks until the executor is gone and tells how it ended. It
	// returns at once for one that has already ended, and the same Exit to
	// every caller. It outlasts an engine that restarts.
	//
	// An unknown or already stopped executor gives ErrNotFound; a Watch that
	// was waiting when Stop was called gets the Exit. The error is ctx's own
	// when ctx ends first and ErrClosed after Close.
	Watch(ctx context.Context, executorID string) (Exit, error)

	// Stop asks the executor to end, kills it and everything it started when
	// it has not ended after grace, waits until all of it is gone, and frees
	// what belonged to it. grace 0 kills at once.
	//
	// Idempotent: nil for an unknown or already stopped executor. Once begun it
	// is carried through even when ctx ends, but may return before that with
	// ctx's error; calling it again is then safe.
	Stop(ctx context.Context, executorID string, grace time.Duration) error

	// List returns this worker's executors that have not been stopped, oldest
	// first, those that ended in the meantime included (Alive is false; Watch
	// gives their Exit at once). It is how a restarted manager adopts, and how
	// it is known what is left of a session: a session id lists only that
	// session's, an empty one all.
	List(ctx context.Context, sessionID string) ([]Executor, error)

	// WorkspaceOwner is the user and group that executors run as. Files that
	// are put into a workspace must belong to it. Both are -1 when executors
	// run as the caller's own user and nothing needs to be done.
	WorkspaceOwner() (uid, gid int)

	// Close ends the Runtime's own goroutines and connections and leaves the
	// executors running. Idempotent.
	Close() error
}

// Mode tells what becomes of an executor after its run. The runtime only
// records it.
type Mode string

// The modes: stopped at the end of the run, or kept for the session's next one.
const (
	ModeEphemeral  Mode = "ephemeral"
	ModePersistent Mode = "persistent"
)

// Spec says what to launch.
type Spec struct {
	// ExecutorID is a new UUID.
	ExecutorID string
	// RunID is the run the executor is launched for. A persistent executor
	// goes on to other runs of the session; ask it with GetStatus.
	RunID string
	// Attempt of the run.
	Attempt   int32
	SessionID string
	UserID    string
	// WorkspaceDir is an existing folder, absolute, as the host sees it.
	WorkspaceDir string
	// StateDir is the same for what the session's executors keep, out of the
	// workspace.
	StateDir string
	// Mode defaults to ModeEphemeral.
	Mode Mode
	// Token is what callers of the executor must show. The executor is only told
	// its hash (EXECUTOR_TOKEN), because its agent can read what it was started
	// with, and so can anyone who may use the engine.
	Token string `json:"-"`
	// Env holds further settings of the executor by variable name, such as
	// DEFAULT_MODEL. None of them may be a secret: engines show them. The
	// runtime's own settings (port, token, folders) win over them.
	Env map[string]string
	// Labels are added to the runtime's own where the engine has labels.
	Labels map[string]string
	// Launched, when set, is called once by Launch when the executor exists and
	// List would find it, while it gets ready. Launch returns after it.
	Launched func() `json:"-"`
}

// String leaves the token out.
func (s Spec) String() string {
	return fmt.Sprintf("executor %s (run %s, attempt %d, session %s, %s)", s.ExecutorID, s.RunID, s.Attempt, s.SessionID, s.Mode)
}

// GoString leaves the token out.
func (s Spec) GoString() string { return s.String() }

// Format leaves the token out of every verb.
func (s Spec) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

// LogValue leaves the token out.
func (s Spec) LogValue() slog.Value {
	return slog.GroupValue(slog.String(logging.KeyExecutorID, s.ExecutorID), slog.String(logging.KeyRunID, s.RunID),
		slog.String(logging.KeySessionID, s.SessionID), slog.String("mode", string(s.Mode)))
}

// Executor is one that was launched and not yet stopped.
type Executor struct {
	ID string
	// RunID and Attempt are what it was launched for.
	RunID     string
	Attempt   int32
	SessionID string
	UserID    string
	Mode      Mode
	// Handle is the runtime's own name for it: container id or process id.
	Handle string
	// Addr is the base URL at which this process reaches it, for example
	// "http://127.0.0.1:41233". Empty when it is not alive.
	Addr         string
	WorkspaceDir string
	StartedAt    time.Time
	// Alive is false when it ended without having been stopped.
	Alive bool
}

// CodeUnknown stands in Exit.Code when nobody could see how the executor ended:
// it was not this process's child, or its container was removed by somebody else.
const CodeUnknown = -1

// Exit tells how an executor ended.
type Exit struct {
	// Code is its exit code, 128 + Signal when a signal ended it, or CodeUnknown.
	Code int
	// Signal that ended it; 0 when it exited by itself or nobody knows.
	Signal syscall.Signal
	// OOMKilled is true when the engine killed something in it for want of memory.
	OOMKilled bool
	// LogTail is the end of what it wrote to its standard output and error, at
	// most LogTailBytes.
	LogTail string
	// Note says what the engine adds, for example that the container was
	// removed by somebody else.
	Note string
}

// LogTailBytes bounds Exit.LogTail.
const LogTailBytes = 16 << 10

// Killed tells whether somebody else ended it.
func (e Exit) Killed() bool { return e.OOMKilled || e.Signal != 0 }

// String is one line that a person can act on, without the log.
func (e Exit) String() string {
	var s string
	switch {
	case e.OOMKilled:
		s = "killed for using more memory than EXECUTOR_MEMORY_MB allows"
	case e.Signal != 0:
		s = fmt.Sprintf("ended by signal %d (%s)", int(e.Signal), e.Signal)
	case e.Code == CodeUnknown:
		s = "ended, nobody saw how"
	default:
		s = fmt.Sprintf("exited with code %d", e.Code)
	}
	if e.Note != "" {
		s += ": " + e.Note
	}
	return s
}
