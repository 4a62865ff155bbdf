// Package agents lists the agents that Poco can run.
package agents

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

// Claude is Claude Code, the agent of tasks that name none.
const Claude = "claude"

// titles are what the agents are called by those who make them.
var titles = map[string]string{
	Claude: "Claude Code",
}

// Of is the agent of a task.
func Of(config *backendv1.TaskConfig) string { return cmp.Or(config.GetAgent(), Claude) }

// Known says whether there is an agent of this name.
func Known(name string) bool { return titles[name] != "" }

// Title is what people call an agent.
func Title(name string) string { return cmp.Or(titles[name], name) }

// List names all agents for people.
func List() string { return strings.Join(slices.Sorted(maps.Keys(titles)), ", ") }
