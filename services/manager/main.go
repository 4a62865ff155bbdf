// Command manager takes runs from the queue and runs them in executors. It leaves
// living executors to its next start when it is stopped.
package main

import (
	"context"
	"log/slog"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/servicemain"
	"github.com/poco-ai/poco/services/manager/app"
)

func main() {
	servicemain.Program[*configv1.ManagerConfig]{
		Service: "manager", Load: app.LoadConfig,
		Run: func(ctx context.Context, cfg *app.Config, logger *slog.Logger) error {
			return app.Run(ctx, cfg, app.Options{Logger: logger})
		},
		Listens: func(c *configv1.ManagerConfig) (string, int32) {
			return c.GetServer().GetHosts()[0], c.GetServer().GetPort()
		},
	}.Main()
}
