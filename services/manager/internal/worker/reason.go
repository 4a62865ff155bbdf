package worker

import (
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/poco-ai/poco/services/internal/text"
	"github.com/poco-ai/poco/services/manager/internal/runtime"
)

// Reasons of runs that end here, as in docs/architecture.md.
const (
	reasonRunCanceled    = "canceled"
	reasonExecutorLost   = "executor_lost"
	reasonLeaseLost      = "lease_lost"
	reasonStartFailed    = "executor_start_failed"
	reasonImageMissing   = "image_missing"
	reasonEngineDown     = "engine_unavailable"
	reasonCLIMissing     = "cli_missing"
	reasonWorkspaceError = "workspace_error"
	reasonConfigError    = "config_error"
)

const (
	// maxMessage is what FinishRun takes.
	maxMessage = 10_000
	// logTailLines of an executor that is gone go into the message.
	logTailLines = 20
)

// launchFailed names why an executor could not be launched.
func launchFailed(err error) ending {
	reason := reasonStartFailed
	var exited *runtime.ExitedError
	switch {
	case errors.As(err, &exited) && exited.Exit.Killed():
		reason = reasonExecutorLost
	case errors.Is(err, runtime.ErrImageMissing):
		reason = reasonImageMissing
	case errors.Is(err, runtime.ErrEngineUnavailable):
		reason = reasonEngineDown
	case errors.Is(err, runtime.ErrCLIMissing):
		reason = reasonCLIMissing
	}
	return failed(reason, "The executor could not be started: %v", err)
}

// handOverFailed names why an executor that was ready did not take its run: it
// refused, or is not there any more.
func handOverFailed(err error) ending {
	reason := reasonStartFailed
	if code := status.Code(err); code == codes.Unavailable || code == codes.DeadlineExceeded {
		reason = reasonExecutorLost
	}
	return failed(reason, "The executor did not accept the run: %s", status.Convert(err).Message())
}

// exitMessage tells how an executor ended, and what it said last.
func exitMessage(exit runtime.Exit) string {
	s := "The executor is gone: it " + exit.String() + "."
	if exit.OOMKilled {
		s = "The executor is gone: it was " + exit.String() + "."
	}
	if tail := lastLines(exit.LogTail, logTailLines); tail != "" {
		s += "\nThe end of its log:\n" + tail
	}
	return s
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// clip makes text fit a field of the queue service.
func clip(s string) string {
	if s = text.Storable(s); len(s) <= maxMessage {
		return s
	}
	return text.Head(s, maxMessage-len("…")) + "…"
}
