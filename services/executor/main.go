// Command executor runs one agent at a time in one workspace. The manager starts
// it, in a container or as a child process.
package main

import (
	"context"
	"log/slog"
	"os"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/executor/app"
	"github.com/poco-ai/poco/services/internal/probe"
	"github.com/poco-ai/poco/services/internal/servicemain"
)

func main() {
	// The manager asks from inside a container whether it is reached.
	if code, asked := probe.Main(os.Args[1:], os.Stdout); asked {
		os.Exit(code)
	}
	servicemain.Program[*configv1.ExecutorConfig]{
		Service: "executor", Load: app.LoadConfig,
		Run: func(ctx context.Context, cfg *app.Config, logger *slog.Logger) error {
			return app.Run(ctx, cfg, app.Options{Logger: logger})
		},
	}.Main()
}
