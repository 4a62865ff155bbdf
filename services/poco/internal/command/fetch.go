package command

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/poco-ai/poco/services/internal/lifecycle"
	"github.com/poco-ai/poco/services/poco/internal/stack"
)

// fetchCommand does ahead of time what a first "poco up" does on its way.
func (c *cli) fetchCommand() *cobra.Command {
	var printEnv bool
	var names []string
	cmd := &cobra.Command{
		Use:   "fetch",
		Short: "Fetch what Poco needs beside itself, ahead of time",
		Long: `Find Postgres, the S3 server and the Claude Code CLI on this machine, and bring
those that are missing into the data folder, where "poco up" finds them.

With --agent NAME, install another agent as well: codex, opencode.
With --print-env, print shell commands that put them into the environment.
CLAUDE_CLI_PATH names a CLI of your own.
` + exitHelp,
		Example: `  poco fetch
  poco fetch --agent codex
  eval "$(poco fetch --print-env)"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := c.dataDir()
			if err != nil {
				return &exitError{exitFailed, err}
			}
			ctx, stop := lifecycle.SignalContext(cmd.Context())
			defer stop()
			fetched, err := stack.Fetch(ctx, dir, c.config.Msg.GetClaudeCliPath(), c.progress)
			if err != nil {
				return &exitError{exitFailed, err}
			}
			agentsDir, err := stack.FetchAgents(ctx, dir, names, c.progress)
			if err != nil {
				return &exitError{exitFailed, err}
			}
			if !printEnv {
				fmt.Fprintf(c.out, "Postgres    %s\nS3 server   %s\nClaude CLI  %s\n", fetched.PostgresDir, fetched.S3, fetched.CLI)
				return nil
			}
			fmt.Fprintf(c.out, "export CLAUDE_CLI_PATH=%s\n", shellQuote(fetched.CLI))
			if len(names) > 0 {
				fmt.Fprintf(c.out, "export AGENTS_DIR=%s\n", shellQuote(agentsDir))
			}
			fmt.Fprintf(c.out, "export PATH=%s:\"$PATH\"\n", shellQuote(fetched.PostgresDir+":"+filepath.Dir(fetched.S3)))
			return nil
		},
	}
	cmd.Flags().BoolVar(&printEnv, "print-env", false, "print shell commands instead of a list")
	cmd.Flags().StringSliceVar(&names, "agent", nil, "install this agent as well")
	return cmd
}

// shellQuote makes text one word of a POSIX shell.
func shellQuote(text string) string {
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
