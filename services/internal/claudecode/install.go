package claudecode

import (
	"context"
	"path/filepath"

	"github.com/poco-ai/poco/services/internal/npm"
)

// Install installs the pinned version into dataDir and returns its path, see
// npm.Install.
func Install(ctx context.Context, dataDir string, progress func(string)) (string, error) {
	return npm.Install(ctx, npm.Package{Title: "the Claude Code CLI", Name: Package, Version: Version, Program: executableIn},
		filepath.Dir(installDir(dataDir)), progress)
}
