package acp

import (
	"maps"
	"slices"

	"github.com/coder/acp-go-sdk"

	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/executor/internal/agent"
)

// servers are the run's MCP servers for the agent, without those that it cannot
// reach, which are told.
func (a *acpAgent) servers(can *acp.AgentCapabilities) []acp.McpServer {
	servers := []acp.McpServer{}
	for _, s := range a.task.Environment.GetMcpServers() {
		name := s.GetName()
		switch t := s.GetTransport().(type) {
		case *executorv1.McpServerConfig_Stdio:
			env := []acp.EnvVariable{}
			for _, key := range slices.Sorted(maps.Keys(t.Stdio.GetEnv())) {
				env = append(env, acp.EnvVariable{Name: key, Value: t.Stdio.GetEnv()[key]})
			}
			servers = append(servers, acp.McpServer{Stdio: &acp.McpServerStdio{
				Name: name, Command: t.Stdio.GetCommand(), Args: append([]string{}, t.Stdio.GetArgs()...), Env: env,
			}})
			continue
		case *executorv1.McpServerConfig_Sse:
			if can.McpCapabilities.Sse {
				servers = append(servers, acp.McpServer{Sse: &acp.McpServerSseInline{Type: "sse", Name: name, Url: t.Sse.GetUrl(), Headers: headers(t.Sse.GetHeaders())}})
				continue
			}
		case *executorv1.McpServerConfig_Http:
			if can.McpCapabilities.Http {
				servers = append(servers, acp.McpServer{Http: &acp.McpServerHttpInline{Type: "http", Name: name, Url: t.Http.GetUrl(), Headers: headers(t.Http.GetHeaders())}})
				continue
			}
		}
		a.emit(agent.Warning(noticeMCP, "The agent cannot reach MCP servers like "+name+", so it works without it."))
	}
	return servers
}

func headers(values map[string]string) []acp.HttpHeader {
	list := []acp.HttpHeader{}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		list = append(list, acp.HttpHeader{Name: name, Value: values[name]})
	}
	return list
}
