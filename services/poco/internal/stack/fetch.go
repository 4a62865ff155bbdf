package stack

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/poco-ai/poco/services/internal/agents"
	"github.com/poco-ai/poco/services/internal/claudecode"
	"github.com/poco-ai/poco/services/internal/embedded"
)

// downloads is where, in the data folder, servers are kept that the machine
// lacks.
const downloads = "downloads"

// Fetched are the programs that Poco needs beside itself.
type Fetched struct {
	// PostgresDir holds the programs of Postgres.
	PostgresDir string
	// S3 is the S3 server.
	S3 string
	// CLI is the Claude Code CLI.
	CLI string
}

// agentsDir is where, in the data folder, agents are kept beside Claude Code.
const agentsDir = "agents"

// FetchAgents installs agents into the data folder, where a later start of the stack
// finds them, and returns the value of AGENTS_DIR.
func FetchAgents(ctx context.Context, dataDir string, names []string, progress func(string)) (string, error) {
	dir := filepath.Join(dataDir, agentsDir)
	for _, name := range names {
		if _, err := agents.Install(ctx, name, dir, withoutTalk(progress)); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// Fetch finds the programs on this machine, and brings those that are missing
// into the data folder, where a later start of the stack finds them. cli is the
// value of CLAUDE_CLI_PATH.
func Fetch(ctx context.Context, dataDir, cli string, progress func(string)) (Fetched, error) {
	var f Fetched
	if err := os.MkdirAll(dataDir, dataDirMode); err != nil {
		return f, err
	}
	var err error
	if f.PostgresDir, err = embedded.FetchPostgres(ctx, filepath.Join(dataDir, downloads), progress); err != nil {
		return f, err
	}
	if f.S3, err = embedded.FetchS3(ctx, filepath.Join(dataDir, downloads), progress); err != nil {
		return f, err
	}
	if cli != "" {
		f.CLI, err = claudecode.Find(cli, "")
	} else {
		f.CLI, err = installCLI(ctx, dataDir, progress)
	}
	return f, err
}

// installCLI returns the pinned CLI of a data folder, installing it the first
// time.
func installCLI(ctx context.Context, dataDir string, progress func(string)) (string, error) {
	return claudecode.Install(ctx, filepath.Join(dataDir, "claude"), withoutTalk(progress))
}

// withoutTalk leaves out npm's own talk.
func withoutTalk(progress func(string)) func(string) {
	return func(line string) {
		if !strings.HasPrefix(line, "npm: npm ") {
			progress(line)
		}
	}
}
