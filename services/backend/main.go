// Command backend serves Poco's API, keeps everything in Postgres and hands runs to
// executor managers.
package main

import (
	"context"
	"log/slog"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/backend/app"
	"github.com/poco-ai/poco/services/internal/servicemain"
)

func main() {
	servicemain.Program[*configv1.BackendConfig]{
		Service: "backend", Load: app.LoadConfig,
		Run: func(ctx context.Context, cfg *app.Config, logger *slog.Logger) error {
			return app.Run(ctx, cfg, app.Options{Logger: logger})
		},
		Listens: func(c *configv1.BackendConfig) (string, int32) {
			return c.GetServer().GetHost(), c.GetServer().GetPort()
		},
	}.Main()
}
