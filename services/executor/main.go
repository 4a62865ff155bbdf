// Command executor runs one agent at a time in one workspace. The manager starts
// it, in a container or as a child process.
package main

import (
	"context"
	"log/slog"

	"github.com/poco-ai/poco/services/executor/app"
	"github.com/poco-ai/poco/services/internal/program"
)

func main() {
	program.Main("executor", app.LoadConfig, func(ctx context.Context, cfg *app.Config, logger *slog.Logger) error {
		return app.Run(ctx, cfg, app.Options{Logger: logger})
	})
}
