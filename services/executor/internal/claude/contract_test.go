package claude

import (
	"testing"

	"github.com/poco-ai/poco/services/executor/internal/agent"
	"github.com/poco-ai/poco/services/executor/internal/agent/agenttest"
)

const elsewhere = `{"model": "another", "env": {"ANTHROPIC_BASE_URL": "http://127.0.0.1:9", "ANTHROPIC_AUTH_TOKEN": "another"}}`

func TestRealAgentContract(t *testing.T) {
	agenttest.Test(t, agenttest.Subject{
		Program: realCLI(t),
		Driver: func(program string) agent.Driver {
			return Driver{CLI: func() (string, error) { return program, nil }}
		},
		Model: "claude-sonnet-4-20250514",
		Files: map[string]string{
			".claude/settings.json": elsewhere, "state/settings.json": elsewhere,
		},
	})
}
