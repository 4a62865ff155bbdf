package agents

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/poco-ai/poco/services/internal/npm"
)

// DirSetting is the environment variable that names the folder with the agents
// that Install has put there.
const DirSetting = "AGENTS_DIR"

// ErrNotFound is returned by Find when the agent is not there; its text says what to
// do.
var ErrNotFound = errors.New("the agent is not installed")

// npmPackage is what an agent comes in from npm: the version that Poco is built and
// tested against.
type npmPackage struct{ name, version, program string }

// Find returns the path of an agent's program: that which Install has put into dir,
// which may be empty, or the one on PATH.
func Find(name, dir string) (string, error) {
	p := kinds[name].npm
	if dir != "" {
		if path := p.executableIn(filepath.Join(dir, name, p.version)); path != "" {
			return path, nil
		}
	}
	path, err := exec.LookPath(p.program)
	if err != nil {
		return "", fmt.Errorf("%w: there is no %s in %s (%q) or on PATH: install it with \"poco fetch --agent %s\", or with \"npm install -g %s@%s\"",
			ErrNotFound, p.program, DirSetting, dir, name, p.name, p.version)
	}
	return filepath.Abs(path)
}

// Install installs an agent's pinned version below dir, see npm.Install.
func Install(ctx context.Context, name, dir string, progress func(string)) (string, error) {
	k := kinds[name]
	if k.npm.name == "" {
		return "", fmt.Errorf("there is no agent %q to install", name)
	}
	return npm.Install(ctx, npm.Package{Title: k.title, Name: k.npm.name, Version: k.npm.version, Program: k.npm.executableIn}, filepath.Join(dir, name), progress)
}

// executableIn returns the program below an npm prefix, or "".
func (p npmPackage) executableIn(prefix string) string {
	path := filepath.Join(prefix, "node_modules", ".bin", p.program)
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
		return path
	}
	return ""
}
