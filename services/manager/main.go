// Command manager takes runs from the queue and runs them in executors. It leaves
// living executors to its next start when it is stopped.
package main

import (
	"context"
	"log/slog"

	"github.com/poco-ai/poco/services/internal/servicemain"
	"github.com/poco-ai/poco/services/manager/app"
)

func main() {
	servicemain.Main("manager", app.LoadConfig, func(ctx context.Context, cfg *app.Config, logger *slog.Logger) error {
		return app.Run(ctx, cfg, app.Options{Logger: logger})
	})
}
