package claude

import (
	"testing"

	"github.com/poco-ai/poco/services/executor/internal/agent"
	"github.com/poco-ai/poco/services/executor/internal/agent/agenttest"
)

func TestRealAgentContract(t *testing.T) {
	agenttest.Test(t, agenttest.Subject{
		Program: realCLI(t),
		Driver: func(program string) agent.Driver {
			return Driver{CLI: func() (string, error) { return program, nil }}
		},
		Model: "claude-sonnet-4-20250514",
	})
}
