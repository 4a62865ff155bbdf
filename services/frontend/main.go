// Command frontend serves Poco's web page and passes its API calls on to the
// backend.
package main

import (
	"context"
	"log/slog"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/frontend/app"
	"github.com/poco-ai/poco/services/internal/servicemain"
)

func main() {
	servicemain.Program[*configv1.FrontendConfig]{
		Service: "frontend", Load: app.LoadConfig,
		Run: func(ctx context.Context, cfg *app.Config, logger *slog.Logger) error {
			return app.Run(ctx, cfg, app.Options{Logger: logger})
		},
		Listens: func(c *configv1.FrontendConfig) (string, int32) { return c.GetHost(), c.GetPort() },
	}.Main()
}
