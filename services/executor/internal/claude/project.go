package claude

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
)

const (
	noticeIgnored = "project_settings_ignored"

	projectSettings = ".claude/settings.json"
	projectServers  = ".mcp.json"
	// maxSettings is far above what anybody writes by hand.
	maxSettings = 1 << 20
)

// ignoredKeys are the settings of a project that do not hold.
var ignoredKeys = []string{
	"apiKeyHelper", "availableModels", "cleanupPeriodDays", "enabledPlugins", "extraKnownMarketplaces", "hooks", "model",
	"permissions", "sandbox",
}

// ignoredSettings names what a project's files ask for and do not get. What
// cannot be read says nothing: the CLI ignores it, too.
func ignoredSettings(dir string) []string {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil
	}
	defer func() { _ = root.Close() }() // It was only read.
	var ignored []string
	var settings map[string]json.RawMessage
	if readJSON(root, projectSettings, &settings) == nil {
		for _, key := range ignoredKeys {
			if _, ok := settings[key]; ok {
				ignored = append(ignored, key+" in "+projectSettings)
			}
		}
		var env map[string]json.RawMessage
		if json.Unmarshal(settings["env"], &env) == nil {
			for _, name := range slices.Sorted(maps.Keys(env)) {
				if ignoredVariable(name) {
					ignored = append(ignored, "env."+name+" in "+projectSettings)
				}
			}
		}
	}
	var servers struct {
		Servers map[string]json.RawMessage `json:"mcpServers"`
	}
	if readJSON(root, projectServers, &servers) == nil {
		for _, name := range slices.Sorted(maps.Keys(servers.Servers)) {
			ignored = append(ignored, "the MCP server "+name+" in "+projectServers)
		}
	}
	return ignored
}

// ignoredVariable tells a variable that the CLI does not take from a file.
func ignoredVariable(name string) bool {
	upper := strings.ToUpper(name)
	return slices.Contains(guarded, name) || strings.HasSuffix(upper, "_PROXY") || strings.HasPrefix(upper, "ANTHROPIC_") ||
		strings.HasPrefix(upper, "CLAUDE_CODE_USE_") || strings.HasPrefix(upper, "CLAUDE_CODE_SKIP_") || upper == "CLAUDE_CODE_OAUTH_TOKEN"
}

// readJSON reads a file that may be anything: it follows no link out of the
// folder, and does not wait for a pipe.
func readJSON(root *os.Root, name string, v any) error {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // It was only read.
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("not a file")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSettings))
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}
