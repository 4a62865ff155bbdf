package worker

import (
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/sanitize"
	"github.com/poco-ai/poco/services/manager/internal/runtime"
)

const (
	// maxMessage is what FinishRun takes.
	maxMessage = 10_000
	// logTailLines of an executor that is gone go into the message.
	logTailLines = 20
)

// launchFailed names why an executor could not be launched.
func launchFailed(err error) outcome {
	reason := backendv1.RunReason_RUN_REASON_EXECUTOR_START_FAILED
	var exited *runtime.ExitedError
	switch {
	case errors.As(err, &exited) && exited.Exit.Killed():
		reason = backendv1.RunReason_RUN_REASON_EXECUTOR_LOST
	case errors.Is(err, runtime.ErrImageMissing):
		reason = backendv1.RunReason_RUN_REASON_IMAGE_MISSING
	case errors.Is(err, runtime.ErrEngineUnavailable):
		reason = backendv1.RunReason_RUN_REASON_ENGINE_UNAVAILABLE
	case errors.Is(err, runtime.ErrCLIMissing):
		reason = backendv1.RunReason_RUN_REASON_AGENT_MISSING
	}
	return failed(reason, "The executor could not be started: %v", err)
}

// handOverFailed names why an executor that was ready did not take its run: it
// refused, or is not there any more.
func handOverFailed(err error) outcome {
	reason := backendv1.RunReason_RUN_REASON_EXECUTOR_START_FAILED
	if code := status.Code(err); code == codes.Unavailable || code == codes.DeadlineExceeded {
		reason = backendv1.RunReason_RUN_REASON_EXECUTOR_LOST
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
	if s = sanitize.Text(s); len(s) <= maxMessage {
		return s
	}
	return sanitize.Head(s, maxMessage-len("…")) + "…"
}
