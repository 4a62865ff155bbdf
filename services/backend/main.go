// Command backend serves Poco's API, keeps everything in Postgres and hands runs to
// executor managers.
package main

import (
	"context"
	"log/slog"

	"github.com/poco-ai/poco/services/backend/app"
	"github.com/poco-ai/poco/services/internal/servicemain"
)

func main() {
	servicemain.Main("backend", app.LoadConfig, func(ctx context.Context, cfg *app.Config, logger *slog.Logger) error {
		return app.Run(ctx, cfg, app.Options{Logger: logger})
	})
}
