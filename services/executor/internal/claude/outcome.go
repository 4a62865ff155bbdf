package claude

import (
	"fmt"
	"strings"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

// completedStatus is the status of a turn that did what it was to.
const completedStatus = backendv1.RunStatus_RUN_STATUS_COMPLETED

// Outcome is how the agent's work ended.
type Outcome struct {
	Status  backendv1.RunStatus
	Reason  backendv1.RunReason
	Message string
	Usage   *backendv1.Usage
}

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

// authenticationFailed names what a person can do about it.
func authenticationFailed(status int32, said string) Outcome {
	return Failed(backendv1.RunReason_RUN_REASON_AUTHENTICATION_FAILED,
		"The model API refused the credential (HTTP %d%s). Check ANTHROPIC_AUTH_TOKEN and ANTHROPIC_BASE_URL.",
		status, detail(said))
}

func isAuthenticationStatus(status int32) bool { return status == 401 || status == 403 }

// statusOnTheWay is the manager's gateway's word for what stands between it and
// the model API: HTTP 424, Failed Dependency.
const statusOnTheWay = 424

// isOnTheWay says whether something other than the model API refused a call: a
// proxy, or a page in its place. The CLI puts the status before the message of
// an API's error, and shows only the title of a page.
func isOnTheWay(status int32, text string) bool {
	switch status {
	case statusOnTheWay, 407:
		return true
	case 401, 403:
		return strings.Contains(text, apiErrorPrefix) && !strings.Contains(text, fmt.Sprintf("%s%d", apiErrorPrefix, status))
	default:
		return false
	}
}

// apiErrorPrefix is how the CLI begins the text of a failed call.
const apiErrorPrefix = "API Error: "

func modelUnreachable(status int32, text string) Outcome {
	said := text
	if _, after, ok := strings.Cut(text, apiErrorPrefix); ok {
		said = after
	}
	if status == statusOnTheWay {
		return Failed(backendv1.RunReason_RUN_REASON_MODEL_UNREACHABLE, "The model API was not reached%s.", detail(strings.TrimPrefix(said, fmt.Sprintf("%d ", status))))
	}
	return Failed(backendv1.RunReason_RUN_REASON_MODEL_UNREACHABLE,
		"Something on the way to the model API refused the call (HTTP %d%s). Check proxies, firewalls and ANTHROPIC_BASE_URL.",
		status, detail(said))
}

// ofResult judges the CLI's result. subtype may say "success" while is_error
// is true: only is_error and api_error_status count.
func ofResult(subtype string, r *wireResult, resuming bool) Outcome {
	text := strings.Join(r.Errors, "; ")
	if text == "" {
		text = r.Result
	}
	switch {
	case !r.IsError:
		return Outcome{Status: completedStatus}
	case isOnTheWay(r.APIErrorStatus, text):
		return modelUnreachable(r.APIErrorStatus, text)
	case isAuthenticationStatus(r.APIErrorStatus):
		return authenticationFailed(r.APIErrorStatus, text)
	case subtype == "error_max_turns":
		return Failed(backendv1.RunReason_RUN_REASON_MAX_TURNS, "%s", orElse(text, "The limit of model turns is reached."))
	case subtype == "error_max_budget_usd":
		return Failed(backendv1.RunReason_RUN_REASON_COST_LIMIT, "The run's cost limit is reached after %.4f US dollars.", r.TotalCostUSD)
	case resuming && isUnknownConversation(text):
		return resumeFailed(text)
	case r.APIErrorStatus != 0:
		return Failed(backendv1.RunReason_RUN_REASON_AGENT_ERROR, "The model API failed (HTTP %d)%s", r.APIErrorStatus, detail(text))
	default:
		return Failed(backendv1.RunReason_RUN_REASON_AGENT_ERROR, "%s", orElse(text, "The agent ended with "+subtype+"."))
	}
}

func isUnknownConversation(text string) bool {
	return strings.Contains(text, "No conversation found")
}

func resumeFailed(said string) Outcome {
	return Failed(backendv1.RunReason_RUN_REASON_RESUME_FAILED, "The earlier conversation could not be resumed%s", detail(said))
}

// detail puts what was said behind a sentence, if anything was.
func detail(s string) string {
	if s == "" {
		return ""
	}
	return ": " + s
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
