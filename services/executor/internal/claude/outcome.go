package claude

import (
	"fmt"
	"strings"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/executor/internal/agent"
)

// completedStatus is the status of a turn that did what it was to.
const completedStatus = backendv1.RunStatus_RUN_STATUS_COMPLETED

// authenticationFailed names what a person can do about it.
func authenticationFailed(status int32, said string) agent.Outcome {
	return agent.Failed(backendv1.RunReason_RUN_REASON_AUTHENTICATION_FAILED,
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

func modelUnreachable(status int32, text string) agent.Outcome {
	said := text
	if _, after, ok := strings.Cut(text, apiErrorPrefix); ok {
		said = after
	}
	if status == statusOnTheWay {
		return agent.Failed(backendv1.RunReason_RUN_REASON_MODEL_UNREACHABLE, "The model API was not reached%s.", detail(strings.TrimPrefix(said, fmt.Sprintf("%d ", status))))
	}
	return agent.Failed(backendv1.RunReason_RUN_REASON_MODEL_UNREACHABLE,
		"Something on the way to the model API refused the call (HTTP %d%s). Check proxies, firewalls and ANTHROPIC_BASE_URL.",
		status, detail(said))
}

// ofResult judges the CLI's result. subtype may say "success" while is_error
// is true: only is_error and api_error_status count.
func ofResult(subtype string, r *wireResult, resuming bool) agent.Outcome {
	text := strings.Join(r.Errors, "; ")
	if text == "" {
		text = r.Result
	}
	switch {
	case !r.IsError:
		return agent.Outcome{Status: completedStatus}
	case isOnTheWay(r.APIErrorStatus, text):
		return modelUnreachable(r.APIErrorStatus, text)
	case isAuthenticationStatus(r.APIErrorStatus):
		return authenticationFailed(r.APIErrorStatus, text)
	case subtype == "error_max_turns":
		return agent.Failed(backendv1.RunReason_RUN_REASON_MAX_TURNS, "%s", orElse(text, "The limit of model turns is reached."))
	case subtype == "error_max_budget_usd":
		return agent.Failed(backendv1.RunReason_RUN_REASON_COST_LIMIT, "The run's cost limit is reached after %.4f US dollars.", r.TotalCostUSD)
	case resuming && isUnknownConversation(text):
		return resumeFailed(text)
	case r.APIErrorStatus != 0:
		return agent.Failed(backendv1.RunReason_RUN_REASON_AGENT_ERROR, "The model API failed (HTTP %d)%s", r.APIErrorStatus, detail(text))
	default:
		return agent.Failed(backendv1.RunReason_RUN_REASON_AGENT_ERROR, "%s", orElse(text, "The agent ended with "+subtype+"."))
	}
}

func isUnknownConversation(text string) bool {
	return strings.Contains(text, "No conversation found")
}

func resumeFailed(said string) agent.Outcome {
	return agent.Failed(backendv1.RunReason_RUN_REASON_RESUME_FAILED, "The earlier conversation could not be resumed%s", detail(said))
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
