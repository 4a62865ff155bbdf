// Package claudecode finds and installs the pinned Claude Code CLI.
package claudecode

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

const (
	// Version is the CLI version that Poco is built and tested against.
	Version = "2.1.197"
	// Package is the CLI's npm package.
	Package = "@anthropic-ai/claude-code"
	// PathSetting is the environment variable that names the CLI explicitly.
	PathSetting = "CLAUDE_CLI_PATH"
)

// versionTimeout bounds a call of "claude --version".
const versionTimeout = 20 * time.Second

// ErrNotFound is returned by Find when there is no CLI; its text says what to do.
var ErrNotFound = errors.New("the Claude Code CLI was not found")

// InstallCommand is the command that installs the pinned version for everybody.
func InstallCommand() string { return "npm install -g " + Package + "@" + Version }

// Find returns the path of the CLI: explicit (the value of CLAUDE_CLI_PATH)
// when it is not empty, else the copy that Install put into dataDir, else
// "claude" on PATH. dataDir may be empty. The error wraps ErrNotFound and names
// the setting and the install command.
func Find(explicit, dataDir string) (string, error) {
	if explicit != "" {
		path, err := exec.LookPath(explicit)
		if err != nil {
			return "", fmt.Errorf("%w: %s is %q, which cannot be executed: %w (install it with: %s)",
				ErrNotFound, PathSetting, explicit, errors.Unwrap(err), InstallCommand())
		}
		return filepath.Abs(path)
	}
	if dataDir != "" {
		if path := executableIn(installDir(dataDir)); path != "" {
			return path, nil
		}
	}
	path, err := exec.LookPath("claude")
	if err != nil {
		return "", fmt.Errorf("%w on PATH: install it with %q or set %s to its path",
			ErrNotFound, InstallCommand(), PathSetting)
	}
	return filepath.Abs(path)
}

// CheckVersion runs the CLI at path and returns its version. A version other
// than Version is no error: the caller decides what it means.
func CheckVersion(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	// The CLI writes nothing outside of its config directory.
	configDir, err := os.MkdirTemp("", "poco-claude-version-")
	if err != nil {
		return "", fmt.Errorf("checking the version of %s: %w", path, err)
	}
	defer os.RemoveAll(configDir)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + configDir, "CLAUDE_CONFIG_DIR=" + configDir, "DISABLE_AUTOUPDATER=1"}
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("checking the version of %s: %w", path, err)
	}
	version, _, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	if version == "" {
		return "", fmt.Errorf("checking the version of %s: it printed nothing", path)
	}
	return version, nil
}

// installDir is where Install puts this version.
func installDir(dataDir string) string {
	return filepath.Join(dataDir, "claude-code", Version)
}

// executableIn returns the CLI below an npm prefix, or "". The platform
// package's native binary comes first: it needs no Node at run time.
func executableIn(prefix string) string {
	modules := filepath.Join(prefix, "node_modules")
	for _, platform := range platforms() {
		native := filepath.Join(modules, "@anthropic-ai", "claude-code-"+platform, "claude")
		if isExecutable(native) {
			return native
		}
	}
	if wrapper := filepath.Join(modules, ".bin", "claude"); isExecutable(wrapper) {
		return wrapper
	}
	return ""
}

// platforms lists the CLI's names for this platform, likelier ones first.
func platforms() []string {
	arch := map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
	name := runtime.GOOS + "-" + arch
	if runtime.GOOS != "linux" {
		return []string{name}
	}
	if musl, err := filepath.Glob("/lib/ld-musl-*"); err == nil && len(musl) > 0 {
		return []string{name + "-musl", name}
	}
	return []string{name, name + "-musl"}
}

func isExecutable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}
