package acp

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/poco-ai/poco/services/executor/internal/agent"
	"github.com/poco-ai/poco/services/internal/agents"
)

// What is known of each agent: how it is told where the model is, with what
// credential, and where it keeps what it knows. All of it goes by the environment,
// which outranks what is in a workspace.

// provider names the model API to the agents.
const provider = "poco"

// Codex drives OpenAI's Codex by its adapter. It speaks the Responses API.
func Codex(program func() (string, error)) *Driver {
	return &Driver{
		name: agents.Codex, program: program, mode: "agent-full-access",
		own:          []string{"CODEX_", "OPENAI_", "MODEL_PROVIDER", "DEFAULT_AUTH_REQUEST", "INITIAL_AGENT_MODE", "NO_BROWSER"},
		capabilities: agent.Capabilities{Questions: true, Credential: true},
		command: func(t *agent.Task) (args, env []string) {
			config := mustJSON(map[string]any{
				"model": t.Model, "model_provider": provider,
				"model_providers": map[string]any{provider: map[string]any{
					"name": provider, "base_url": t.BaseURL, "wire_api": "responses", "env_key": "CODEX_API_KEY",
				}},
				// It asks outside of its plan mode, too.
				"features":                    map[string]any{"default_mode_request_user_input": true},
				"check_for_update_on_startup": false,
				"analytics":                   map[string]any{"enabled": false},
			})
			return nil, []string{
				"CODEX_HOME=" + t.StateDir, "CODEX_API_KEY=" + t.Token, "CODEX_CONFIG=" + config, "MODEL_PROVIDER=" + provider,
				`DEFAULT_AUTH_REQUEST={"methodId":"api-key"}`, "INITIAL_AGENT_MODE=agent-full-access", "NO_BROWSER=1",
			}
		},
	}
}

// OpenCode drives OpenCode. It speaks the Chat Completions API. The usage that it
// tells is that of its last call of the model.
func OpenCode(program func() (string, error)) *Driver {
	return &Driver{
		name: agents.OpenCode, program: program, mode: "build",
		own: []string{"OPENCODE_", "XDG_"},
		command: func(t *agent.Task) (args, env []string) {
			config := mustJSON(map[string]any{
				"model": provider + "/" + t.Model, "small_model": provider + "/" + t.Model,
				// No other provider is asked, free ones among them.
				"enabled_providers": []string{provider}, "disabled_providers": []string{}, "autoupdate": false, "share": "disabled", "permission": "allow",
				"provider": map[string]any{provider: map[string]any{
					"npm": "@ai-sdk/openai-compatible", "name": provider,
					"options": map[string]any{"baseURL": t.BaseURL, "apiKey": t.Token},
					"models":  map[string]any{t.Model: map[string]any{"name": t.Model}},
				}},
			})
			env = []string{
				"OPENCODE_CONFIG_CONTENT=" + config, "OPENCODE_DISABLE_PROJECT_CONFIG=1", "OPENCODE_DISABLE_AUTOUPDATE=1",
				"OPENCODE_DISABLE_MODELS_FETCH=1", "OPENCODE_DISABLE_LSP_DOWNLOAD=1", "OPENCODE_DISABLE_SHARE=1", "OPENCODE_DISABLE_DEFAULT_PLUGINS=1",
			}
			for _, kind := range []string{"CONFIG", "DATA", "STATE", "CACHE"} {
				env = append(env, fmt.Sprintf("XDG_%s_HOME=%s", kind, filepath.Join(t.StateDir, kind)))
			}
			return []string{"acp"}, env
		},
	}
}

// mustJSON encodes what is written above.
func mustJSON(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("acp: encoding %T: %v", v, err))
	}
	return string(data)
}
