// Command executor runs one agent at a time in one workspace. The manager starts
// it, in a container or as a child process.
package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/poco-ai/poco/services/executor/app"
	"github.com/poco-ai/poco/services/internal/probe"
	"github.com/poco-ai/poco/services/internal/servicemain"
)

func main() {
	// The manager asks from inside a container whether it is reached.
	if code, asked := probe.Main(os.Args[1:], os.Stdout); asked {
		os.Exit(code)
	}
	servicemain.Main("executor", app.LoadConfig, func(ctx context.Context, cfg *app.Config, logger *slog.Logger) error {
		return app.Run(ctx, cfg, app.Options{Logger: logger})
	})
}
