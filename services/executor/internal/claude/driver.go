package claude

import (
	"github.com/poco-ai/poco/services/executor/internal/agent"
	"github.com/poco-ai/poco/services/internal/agents"
)

// Driver makes agents of the Claude Code CLI.
type Driver struct {
	// CLI finds the program.
	CLI func() (string, error)
}

// Name implements agent.Driver.
func (Driver) Name() string { return agents.Claude }

// Capabilities implements agent.Driver.
func (Driver) Capabilities() agent.Capabilities {
	return agent.Capabilities{Questions: true, Plans: true, Todos: true, Background: true, Cost: true, Turns: true, Tokens: true, Credential: true, Recovers: true}
}

// New implements agent.Driver.
func (d Driver) New(task agent.Task, sink agent.Sink) (agent.Agent, error) {
	path, err := d.CLI()
	if err != nil {
		return nil, err
	}
	return New(Options{Task: task, Path: path}, sink), nil
}
