package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os/exec"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

// Outcome is how the agent's work ended.
type Outcome struct {
	Status  backendv1.RunStatus
	Reason  backendv1.RunReason
	Message string
	Usage   *backendv1.Usage
}

// Completed is the outcome of a run that did what it was to.
func Completed() Outcome { return Outcome{Status: backendv1.RunStatus_RUN_STATUS_COMPLETED} }

// Failed returns a failed outcome.
func Failed(reason backendv1.RunReason, format string, args ...any) Outcome {
	return Outcome{
		Status: backendv1.RunStatus_RUN_STATUS_FAILED, Reason: reason,
		Message: fmt.Sprintf(format, args...),
	}
}

// Canceled returns the outcome of a canceled run.
func Canceled(reason string) Outcome {
	message := "Canceled."
	if reason != "" {
		message = "Canceled: " + reason
	}
	return Outcome{Status: backendv1.RunStatus_RUN_STATUS_CANCELED, Reason: backendv1.RunReason_RUN_REASON_CANCELED, Message: message}
}

// NotStarted is the outcome of a run whose agent's program does not start.
func NotStarted(title string, err error) Outcome {
	reason := backendv1.RunReason_RUN_REASON_AGENT_CRASHED
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrPermission) {
		reason = backendv1.RunReason_RUN_REASON_AGENT_MISSING
	}
	return Failed(reason, "%s cannot be started: %v", title, err)
}

// StopError is a context cause that says how the run ends.
type StopError struct{ Outcome Outcome }

// Error makes StopError usable as a context's cause.
func (s *StopError) Error() string { return s.Outcome.Reason.String() + ": " + s.Outcome.Message }
