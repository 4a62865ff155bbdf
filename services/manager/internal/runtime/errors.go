package runtime

import (
	"errors"
	"fmt"
	"strings"

	"github.com/poco-ai/poco/services/internal/dockerengine"
)

var (
	// ErrEngineUnavailable means that the container engine does not answer.
	ErrEngineUnavailable = dockerengine.ErrUnavailable
	// ErrImageMissing means that the engine does not have the executor image.
	ErrImageMissing = dockerengine.ErrImageMissing
	// ErrCLIMissing means that the process runtime finds no Claude Code CLI.
	ErrCLIMissing = errors.New("Claude Code CLI missing") //nolint:staticcheck // a product's name keeps its capital
	// ErrExecutorMissing means that the process runtime finds no executor program.
	ErrExecutorMissing = errors.New("executor program missing")
	// ErrUnreachable means that executors do not reach a URL.
	ErrUnreachable = errors.New("not reachable for executors")
	// ErrNotFound means that the runtime has no such executor (any more).
	ErrNotFound = errors.New("no such executor")
	// ErrExists means that an executor with that id exists.
	ErrExists = errors.New("executor exists already")
	// ErrClosed means that the Runtime was closed.
	ErrClosed = errors.New("runtime closed")
	// ErrStartTimeout means that the executor did not answer in time.
	ErrStartTimeout = errors.New("executor did not answer in time")
)

// ExitedError means that an executor ended before it answered.
type ExitedError struct {
	Exit Exit
}

// Error tells how it ended and ends with its last words.
func (e *ExitedError) Error() string {
	s := "executor ended before it answered: " + e.Exit.String()
	if tail := strings.TrimSpace(e.Exit.LogTail); tail != "" {
		s += "; its log ends: " + lastLines(tail, 5)
	}
	return s
}

// Validate tells what is wrong with a Spec. Implementations call it in Launch.
func (s Spec) Validate() error {
	switch {
	case s.ExecutorID == "" || strings.ContainsAny(s.ExecutorID, "/\\. "):
		return fmt.Errorf("executor id %q is not usable", s.ExecutorID)
	case s.RunID == "" || s.SessionID == "":
		return errors.New("run id and session id are needed")
	case !strings.HasPrefix(s.WorkspaceDir, "/"):
		return fmt.Errorf("workspace %q is not an absolute path", s.WorkspaceDir)
	case !strings.HasPrefix(s.StateDir, "/"):
		return fmt.Errorf("state folder %q is not an absolute path", s.StateDir)
	case s.Token == "":
		return errors.New("an executor token is needed")
	}
	return nil
}

func lastLines(s string, n int) string {
	lines := strings.Split(s, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
