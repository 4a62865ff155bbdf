package acp

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/coder/acp-go-sdk"

	"github.com/poco-ai/poco/services/executor/internal/agent"
)

// mcpConfig is the document that a run's MCP servers come in.
type mcpConfig struct {
	Servers map[string]struct {
		Type    string            `json:"type"`
		Command string            `json:"command"`
		Args    []string          `json:"args"`
		Env     map[string]string `json:"env"`
		URL     string            `json:"url"`
		Headers map[string]string `json:"headers"`
	} `json:"mcpServers"`
}

// servers are the run's MCP servers for the agent, without those that it cannot
// reach, which are told.
func (a *acpAgent) servers(can *acp.AgentCapabilities) ([]acp.McpServer, error) {
	servers := []acp.McpServer{}
	if a.task.MCPConfigJSON == "" {
		return servers, nil
	}
	var config mcpConfig
	if err := json.Unmarshal([]byte(a.task.MCPConfigJSON), &config); err != nil {
		return nil, fmt.Errorf("the MCP configuration cannot be read: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(config.Servers)) {
		s := config.Servers[name]
		switch {
		case s.URL == "":
			env := []acp.EnvVariable{}
			for _, key := range slices.Sorted(maps.Keys(s.Env)) {
				env = append(env, acp.EnvVariable{Name: key, Value: s.Env[key]})
			}
			servers = append(servers, acp.McpServer{Stdio: &acp.McpServerStdio{Name: name, Command: s.Command, Args: append([]string{}, s.Args...), Env: env}})
		case s.Type == "sse" && can.McpCapabilities.Sse:
			servers = append(servers, acp.McpServer{Sse: &acp.McpServerSseInline{Type: "sse", Name: name, Url: s.URL, Headers: headers(s.Headers)}})
		case s.Type != "sse" && can.McpCapabilities.Http:
			servers = append(servers, acp.McpServer{Http: &acp.McpServerHttpInline{Type: "http", Name: name, Url: s.URL, Headers: headers(s.Headers)}})
		default:
			a.emit(agent.Warning(noticeMCP, "The agent cannot reach MCP servers like "+name+", so it works without it."))
		}
	}
	return servers, nil
}

func headers(values map[string]string) []acp.HttpHeader {
	list := []acp.HttpHeader{}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		list = append(list, acp.HttpHeader{Name: name, Value: values[name]})
	}
	return list
}
