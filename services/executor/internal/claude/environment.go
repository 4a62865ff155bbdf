package claude

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/executor/internal/agent"
)

// own are the beginnings of variables by which the CLI is told what a run's
// environment may not: where the model is, with what credential, and what Poco
// hears of it.
var own = append([]string{"ANTHROPIC_", "CLAUDE", "CCR_", "OTEL_", "AWS_BEARER_TOKEN_BEDROCK"}, guarded...)

// settingFiles are the files that the CLI is started with.
type settingFiles struct {
	dir string
	// mcp and instructions are paths; empty for none.
	mcp, instructions string
}

// writeSettings puts what a run's environment has for the CLI into private files:
// it may hold secrets, and a command line can be read by every process.
func writeSettings(task *agent.Task) (settingFiles, error) {
	contents := map[string][]byte{}
	if servers := task.Environment.GetMcpServers(); len(servers) > 0 {
		document, err := json.Marshal(mcpConfig(servers))
		if err != nil {
			return settingFiles{}, fmt.Errorf("encoding the MCP servers: %w", err)
		}
		contents["mcp.json"] = document
	}
	if text := task.InstructionText(); text != "" {
		contents["instructions.md"] = []byte(text)
	}
	if len(contents) == 0 {
		return settingFiles{}, nil
	}
	dir, err := os.MkdirTemp("", "poco-claude-")
	if err != nil {
		return settingFiles{}, fmt.Errorf("creating a folder: %w", err)
	}
	files := settingFiles{dir: dir}
	for name, content := range contents {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			files.remove()
			return settingFiles{}, fmt.Errorf("writing the file: %w", err)
		}
		if name == "mcp.json" {
			files.mcp = path
		} else {
			files.instructions = path
		}
	}
	return files, nil
}

// remove removes the files.
func (f settingFiles) remove() {
	if f.dir != "" {
		_ = os.RemoveAll(f.dir) // The container goes anyway.
	}
}

// wireServerConfig is an MCP server in the CLI's --mcp-config document.
type wireServerConfig struct {
	Type    string            `json:"type"`
	Command string            `json:"command,omitempty"`
	Args    []string          `json:"args,omitempty"`
	Env     map[string]string `json:"env,omitempty"`
	URL     string            `json:"url,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
}

// mcpConfig is the CLI's --mcp-config document.
func mcpConfig(servers []*executorv1.McpServerConfig) map[string]map[string]wireServerConfig {
	configs := make(map[string]wireServerConfig, len(servers))
	for _, server := range servers {
		switch t := server.GetTransport().(type) {
		case *executorv1.McpServerConfig_Stdio:
			configs[server.GetName()] = wireServerConfig{Type: "stdio", Command: t.Stdio.GetCommand(), Args: t.Stdio.GetArgs(), Env: t.Stdio.GetEnv()}
		case *executorv1.McpServerConfig_Http:
			configs[server.GetName()] = wireServerConfig{Type: "http", URL: t.Http.GetUrl(), Headers: t.Http.GetHeaders()}
		case *executorv1.McpServerConfig_Sse:
			configs[server.GetName()] = wireServerConfig{Type: "sse", URL: t.Sse.GetUrl(), Headers: t.Sse.GetHeaders()}
		}
	}
	return map[string]map[string]wireServerConfig{"mcpServers": configs}
}
