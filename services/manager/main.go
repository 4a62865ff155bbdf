// Command manager takes runs from the queue and runs them in executors. It leaves
// living executors to its next start when it is stopped.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/lifecycle"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/manager/app"
)

func main() {
	cfg, err := app.LoadConfig(config.OSSources())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	logger, err := logging.New(cfg.Msg.GetLogging(), "manager", os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	ctx, stop := lifecycle.SignalContext(context.Background())
	err = app.Run(ctx, cfg, app.Options{Logger: logger.Logger})
	stop()
	if err != nil {
		logger.Error("manager stopped", logging.KeyError, err)
	}
	if closeErr := logger.Close(); closeErr != nil {
		fmt.Fprintln(os.Stderr, closeErr)
	}
	if err != nil {
		os.Exit(1)
	}
}
