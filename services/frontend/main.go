// Command frontend serves Poco's web page and passes its API calls on to the
// backend.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/poco-ai/poco/services/frontend/app"
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
	logger, err := logging.New(cfg.Msg.GetLogging(), "frontend", os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	ctx, stop := lifecycle.SignalContext(context.Background())
	err = app.Run(ctx, cfg, app.Options{Logger: logger.Logger})
	stop()
	if err != nil {
		logger.Error("frontend stopped", logging.KeyError, err)
	}
	if closeErr := logger.Close(); closeErr != nil {
		fmt.Fprintln(os.Stderr, closeErr)
	}
	if err != nil {
		os.Exit(1)
	}
}
