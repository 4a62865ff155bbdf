// Package acp drives agents by the Agent Client Protocol, version 1.
package acp

import (
	"github.com/poco-ai/poco/services/executor/internal/agent"
)

// Driver makes agents of one program that speaks the protocol. Codex and OpenCode
// return them.
type Driver struct {
	name         string
	capabilities agent.Capabilities
	program      func() (string, error)
	// command are the arguments and the environment of the program for a task.
	command func(t *agent.Task) (args, env []string)
	// own are the beginnings of variables by which the program is told what the
	// run's environment may not.
	own []string
	// auth is the method to authenticate by; empty where the environment is enough.
	auth string
	// mode is the one in which it does what its sandbox lets it do. It is set for
	// each session: what an agent takes for itself may leave it to the model what
	// is asked.
	mode string
}

// Name implements agent.Driver.
func (d *Driver) Name() string { return d.name }

// Capabilities implements agent.Driver.
func (d *Driver) Capabilities() agent.Capabilities { return d.capabilities }

// Took implements agent.Driver. It errs on the safe side: the prompt may have
// been given to the agent, see keepPrompt.
func (d *Driver) Took(stateDir, promptID string) (conversation string, err error) {
	return conversationOf(stateDir, promptID)
}

// Whole implements agent.Driver: what is not whole does not load.
func (d *Driver) Whole(string, string) bool { return true }

// New implements agent.Driver.
func (d *Driver) New(task agent.Task, sink agent.Sink) (agent.Agent, error) {
	path, err := d.program()
	if err != nil {
		return nil, err
	}
	return newAgent(d, path, task, sink), nil
}
