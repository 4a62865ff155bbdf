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

func contract(t *testing.T, name, model, base string, driver func(program func() (string, error)) *Driver) {
	agenttest.Test(t, agenttest.Subject{
		Program: realAgent(t, name), Model: model, BaseURL: func(address string) string { return address + base },
		Driver: func(program string) agent.Driver {
			return driver(func() (string, error) { return program, nil })
		},
	})
}

func TestRealCodexContract(t *testing.T) { contract(t, agents.Codex, "gpt-5", "/v1", Codex) }

func TestRealOpenCodeContract(t *testing.T) { contract(t, agents.OpenCode, "gpt-5", "/v1", OpenCode) }
