package gateway

import (
	"net/http"
	"regexp"
	"strings"

	"github.com/poco-ai/poco/services/internal/config"
)

// API is a model API: which calls of it are passed on, and how its own answers and
// credentials look.
type API struct {
	// name labels its metrics.
	name string
	// Prefix is where its gateway is mounted: an agent's base URL is CALLBACK_BASE_URL
	// with it at the end.
	Prefix string
	// setting names its address, credentials the settings with its credential.
	setting, credentials string
	// calls says for people what is passed on.
	calls string
	// passesOn tells whether a call is one that an agent makes. The credential may
	// open more: files and batches of other runs and users, work that goes on after
	// the run, the organization's settings. A model token opens none of that.
	passesOn func(method, path string) bool
	// own says whether an error is in the API's form.
	own func(outer, kind, message string) bool
	// authorize puts the credential into a call.
	authorize func(header http.Header, token, key config.Secret)
}

// Anthropic is Anthropic's API, Messages.
var Anthropic = API{
	name: "anthropic", Prefix: "/model", setting: "ANTHROPIC_BASE_URL", credentials: "neither ANTHROPIC_AUTH_TOKEN nor ANTHROPIC_API_KEY is set",
	calls: "messages, token counts and models",
	passesOn: func(method, path string) bool {
		switch path {
		case "/v1/messages", "/v1/messages/count_tokens":
			return method == http.MethodPost
		}
		return method == http.MethodGet && isModels(path, "/v1/models")
	},
	own: func(outer, kind, _ string) bool { return outer == "error" && kind != "" },
	authorize: func(header http.Header, token, key config.Secret) {
		switch token := token.Reveal(); {
		case token == "":
			header.Set("X-Api-Key", key.Reveal())
		case strings.HasPrefix(token, apiKeyPrefix):
			header.Set("X-Api-Key", token)
		default:
			header.Set("Authorization", "Bearer "+token)
		}
	},
}

// OpenAI is OpenAI's API and that of all who offer the same: Responses and Chat
// Completions.
var OpenAI = API{
	name: "openai", Prefix: "/model/openai", setting: "OPENAI_BASE_URL", credentials: "OPENAI_API_KEY is not set",
	calls: "responses, chat completions and models",
	passesOn: func(method, path string) bool {
		switch path {
		case "/responses", "/responses/compact", "/chat/completions":
			return method == http.MethodPost
		}
		return method == http.MethodGet && isModels(path, "/models")
	},
	own: func(_, _, message string) bool { return message != "" },
	authorize: func(header http.Header, _, key config.Secret) {
		header.Set("Authorization", "Bearer "+key.Reveal())
	},
}

// isModels tells the list of models, and one of them.
func isModels(path, list string) bool {
	model, ok := strings.CutPrefix(path, list+"/")
	return path == list || ok && modelName.MatchString(model)
}

// modelName is one part of a path that cannot be "." or "..".
var modelName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:@-]*$`)
