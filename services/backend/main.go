// Command backend serves Poco's API, keeps everything in Postgres and hands runs to
// executor managers.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/poco-ai/poco/services/backend/app"
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
	logger, err := logging.New(cfg.Msg.GetLogging(), app.Service, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	ctx, stop := lifecycle.SignalContext(context.Background())
	err = app.Run(ctx, cfg, app.Options{Logger: logger.Logger})
	stop()
	if err != nil {
		logger.Error("backend stopped", logging.KeyError, err)
	}
	if closeErr := logger.Close(); closeErr != nil {
		fmt.Fprintln(os.Stderr, closeErr)
	}
	if err != nil {
		os.Exit(1)
	}
}
