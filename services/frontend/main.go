// Command frontend serves Poco's web page and passes its API calls on to the
// backend.
package main

import (
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
	ctx, stop := lifecycle.SignalContext()
	defer stop()
	logger := logging.New("frontend", cfg.Msg.GetLogging())
	if err := app.Run(ctx, cfg, app.Options{Logger: logger}); err != nil {
		logger.Error("frontend stopped", "error", err)
		os.Exit(1)
	}
}
