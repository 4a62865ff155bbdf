package command

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	executor "github.com/poco-ai/poco/services/executor/app"
	"github.com/poco-ai/poco/services/internal/lifecycle"
	"github.com/poco-ai/poco/services/internal/servicemain"
	"github.com/poco-ai/poco/services/internal/version"
)

// executorCommand is what the process runtime starts for each run; all its
// settings come from the environment.
func (c *cli) executorCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "executor",
		Short:   "Run one executor (started by the manager)",
		Hidden:  true,
		Args:    cobra.NoArgs,
		Example: "  EXECUTOR_TOKEN=… EXECUTOR_PORT=0 WORKSPACE_PATH=… DEFAULT_MODEL=… poco executor",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := executor.LoadConfig(c.sources)
			if err != nil {
				return &exitError{exitUsage, err}
			}
			logger, closeLog, err := servicemain.Follow(cfg, c.err)
			if err != nil {
				return &exitError{exitUsage, err}
			}
			ctx, stop := lifecycle.SignalContext(cmd.Context())
			defer stop()
			if err := errors.Join(executor.Run(ctx, cfg, executor.Options{Logger: logger}), closeLog()); err != nil {
				return &exitError{exitFailed, err}
			}
			return nil
		},
	}
}

func (c *cli) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  poco version",
		Args:    cobra.NoArgs,
		Run:     func(*cobra.Command, []string) { fmt.Fprintln(c.out, "poco "+version.String()) },
	}
}
