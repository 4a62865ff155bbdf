// Command executor runs one agent at a time in one workspace. The manager starts
// it, in a container or as a child process.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/poco-ai/poco/services/executor/app"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/lifecycle"
	"github.com/poco-ai/poco/services/internal/logging"
)

func main() {
	cfg, err := app.LoadConfig(config.OSSources())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	logger, err := logging.New(cfg.Msg.GetLogging(), "executor", os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	ctx, stop := lifecycle.SignalContext(context.Background())
	err = app.Run(ctx, cfg, app.Options{Logger: logger.Logger})
	stop()
	if err != nil {
		logger.Error("executor stopped", logging.KeyError, err)
	}
	if closeErr := logger.Close(); closeErr != nil {
		fmt.Fprintln(os.Stderr, closeErr)
	}
	if err != nil {
		os.Exit(1)
	}
}
