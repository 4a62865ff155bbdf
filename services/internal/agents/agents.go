// Package agents lists the agents that Poco can run.
package agents

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

// The agents. Claude is that of tasks that name none.
const (
	Claude   = "claude"
	Codex    = "codex"
	OpenCode = "opencode"
)

// API is a model API that agents speak.
type API int

// The model APIs: Anthropic's Messages, and OpenAI's Responses and Chat Completions.
const (
	Anthropic API = iota
	OpenAI
)

type kind struct {
	// title is what the agent is called by those who make it.
	title string
	api   API
	// npm is what it comes in.
	npm npmPackage
}

var kinds = map[string]kind{
	// claudecode finds and installs it.
	Claude:   {title: "Claude Code", api: Anthropic},
	Codex:    {title: "Codex", api: OpenAI, npm: npmPackage{name: "@agentclientprotocol/codex-acp", version: "2.6.0", program: "codex-acp"}},
	OpenCode: {title: "OpenCode", api: OpenAI, npm: npmPackage{name: "opencode-ai", version: "1.18.33", program: "opencode"}},
}

// Of is the agent of a task.
func Of(config *backendv1.TaskConfig) string { return cmp.Or(config.GetAgent(), Claude) }

// Known says whether there is an agent of this name.
func Known(name string) bool { return kinds[name].title != "" }

// Title is what people call an agent.
func Title(name string) string { return cmp.Or(kinds[name].title, name) }

// APIOf is the model API that an agent speaks.
func APIOf(name string) API { return kinds[name].api }

// Names are all agents.
func Names() []string { return slices.Sorted(maps.Keys(kinds)) }

// List names all agents for people.
func List() string { return strings.Join(Names(), ", ") }
