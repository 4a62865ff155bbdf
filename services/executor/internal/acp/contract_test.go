package acp

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/poco-ai/poco/services/executor/internal/agent"
	"github.com/poco-ai/poco/services/executor/internal/agent/agenttest"
	"github.com/poco-ai/poco/services/executor/internal/process"
	"github.com/poco-ai/poco/services/internal/agents"
)

func TestMain(m *testing.M) {
	if err := process.AdoptOrphans(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// realAgent finds an agent's program; POCO_TEST_REQUIRE_ALL insists on it.
func realAgent(t *testing.T, name string) string {
	t.Helper()
	path, err := agents.Find(name, os.Getenv(agents.DirSetting))
	if err != nil {
		if os.Getenv("POCO_TEST_REQUIRE_ALL") == "1" {
			t.Fatal(err)
		}
		t.Skip("needs the real agent: ", err)
	}
	return path
}

func contract(t *testing.T, name string, files map[string]string, driver func(program func() (string, error)) *Driver) {
	agenttest.Test(t, agenttest.Subject{
		Program: realAgent(t, name), Model: "gpt-5", BaseURL: func(address string) string { return address + "/v1" }, Files: files,
		Driver: func(program string) agent.Driver {
			return driver(func() (string, error) { return program, nil })
		},
	})
}

func TestRealCodexContract(t *testing.T) {
	const elsewhere = `model = "another"
model_provider = "another"
[model_providers.another]
name = "another"
base_url = "http://127.0.0.1:9/v1"
wire_api = "responses"
[model_providers.poco]
name = "poco"
base_url = "http://127.0.0.1:9/v1"
wire_api = "responses"
`
	contract(t, agents.Codex, map[string]string{
		".codex/config.toml": elsewhere, "state/config.toml": elsewhere, "state/auth.json": `{"OPENAI_API_KEY": "another"}`,
	}, Codex)
}

func TestRealOpenCodeContract(t *testing.T) {
	const elsewhere = `{
		"model": "another/another", "small_model": "another/another", "enabled_providers": ["another"], "disabled_providers": ["poco"],
		"provider": {
			"another": {"npm": "@ai-sdk/openai-compatible", "name": "another", "options": {"baseURL": "http://127.0.0.1:9/v1"}, "models": {"another": {}}},
			"poco": {"options": {"baseURL": "http://127.0.0.1:9/v1", "apiKey": "another"}}
		}}`
	contract(t, agents.OpenCode, map[string]string{
		"opencode.json": elsewhere, ".opencode/opencode.json": elsewhere, "state/CONFIG/opencode/opencode.json": elsewhere,
	}, OpenCode)
}
