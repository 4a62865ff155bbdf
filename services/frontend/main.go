// Command frontend serves Poco's web page and passes its API calls on to the
// backend.
package main

import (
	"context"
	"log/slog"

	"github.com/poco-ai/poco/services/frontend/app"
	"github.com/poco-ai/poco/services/internal/servicemain"
)

func main() {
	servicemain.Main("frontend", app.LoadConfig, func(ctx context.Context, cfg *app.Config, logger *slog.Logger) error {
		return app.Run(ctx, cfg, app.Options{Logger: logger})
	})
}
