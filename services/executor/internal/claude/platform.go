package claude

import (
	"encoding/json"
	"fmt"
	"strings"
)

// What files may not decide: where the model is reached, with what credential,
// and what the agent may do. The CLI reads settings from the workspace, from
// its config directory and from the home folder, all of which the agent or a
// repository's author can write, before the run and during it. It is told here,
// by the means that outrank files, what holds. What is harmless goes on to
// work: CLAUDE.md, skills, agents, and variables for the project's commands.

// managedSettings is the policy that the CLI ranks above all files. Hooks can
// answer for a person, and permission rules keep a person from being asked, so
// neither is taken from files; nor are programs that start by themselves.
func managedSettings(model string) string {
	models := []string{"haiku", "sonnet", "opus", "fable"}
	if model != "" {
		models = append(models, model)
	}
	return mustJSON(map[string]any{
		"allowManagedHooksOnly":           true,
		"allowManagedPermissionRulesOnly": true,
		"strictKnownMarketplaces":         []any{},
		// A list in a file that lacks the run's model would have it replaced.
		"availableModels": models,
		"permissions": map[string]any{
			"disableBypassPermissionsMode": "disable",
			"disableAutoMode":              "disable",
		},
	})
}

// flagSettings replace what files say in these. The sandbox is the container's;
// transcripts are kept as long as their session is.
var flagSettings = mustJSON(map[string]any{
	"apiKeyHelper":      "",
	"cleanupPeriodDays": 36500,
	"sandbox":           map[string]any{"enabled": false},
})

// hostManaged has the CLI ignore, in all settings files, what says where the
// model is, by which provider and with which credential.
const hostManaged = "CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST=1"

// fixedEnvironment has the CLI ignore, in all settings files, every variable
// that it was started with.
const fixedEnvironment = "CLAUDE_CODE_ENVIRONMENT_KIND=byoc"

// guarded are variables that hostManaged leaves to files. The CLI is started
// with each of them, empty where Poco has no value for it.
var guarded = []string{
	// Where calls go, and by what way.
	"ANTHROPIC_UNIX_SOCKET", "ALL_PROXY", "all_proxy", "AGENT_PROXY_URL", "AGENT_PROXY_AUTH_TOKEN", "CCR_AGENT_PROXY_ENABLED",
	"CLAUDE_CODE_API_BASE_URL", "CLAUDE_CODE_CUSTOM_OAUTH_URL", "CLAUDE_CODE_GB_BASE_URL", "CLAUDE_CODE_PROXY_RESOLVES_HOSTS",
	"USE_LOCAL_OAUTH", "USE_STAGING_OAUTH",
	// What they carry.
	"ANTHROPIC_CUSTOM_HEADERS", "ANTHROPIC_BETAS", "CLAUDE_CODE_EXTRA_BODY", "CLAUDE_CODE_EXTRA_METADATA",
	// Whom the CLI trusts, and as whom it speaks.
	"NODE_EXTRA_CA_CERTS", "NODE_TLS_REJECT_UNAUTHORIZED", "SSL_CERT_FILE", "SSL_CERT_DIR",
	"CLAUDE_CODE_CLIENT_CERT", "CLAUDE_CODE_CLIENT_KEY", "CLAUDE_CODE_API_KEY_FILE_DESCRIPTOR", "CLAUDE_CODE_OAUTH_TOKEN_FILE_DESCRIPTOR",
	// Who else is told what is said.
	"CLAUDE_CODE_ENABLE_TELEMETRY", "CLAUDE_CODE_ENHANCED_TELEMETRY_BETA", "ENABLE_ENHANCED_TELEMETRY_BETA", "BETA_TRACING_ENDPOINT",
	"ENABLE_BETA_TRACING_DETAILED", "OTEL_EXPORTER_OTLP_ENDPOINT",
	// Whether the conversation is kept, and Poco heard.
	"CLAUDE_CODE_SKIP_PROMPT_HISTORY", "CLAUDE_CODE_SIMPLE", "CLAUDE_CODE_SAFE_MODE",
}

// guard adds the guarded variables that are not set.
func guard(env []string) []string {
	set := map[string]bool{}
	for _, variable := range env {
		name, _, _ := strings.Cut(variable, "=")
		set[name] = true
	}
	for _, name := range guarded {
		if !set[name] {
			env = append(env, name+"=")
		}
	}
	return env
}

// mustJSON encodes what is written above.
func mustJSON(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("claude: encoding %T: %v", v, err))
	}
	return string(data)
}
