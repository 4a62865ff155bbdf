package command

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/poco-ai/poco/services/internal/lifecycle"
	"github.com/poco-ai/poco/services/internal/scriptedmodel"
)

func (c *cli) modelCommand() *cobra.Command {
	var addr, token string
	cmd := &cobra.Command{
		Use:   "model",
		Short: "Run the scripted model endpoint alone",
		Long: `Run the scripted model endpoint alone: a small server that speaks the Messages
API and plays written scenarios instead of thinking, for tests and demos. A
marker in the prompt chooses the scenario, for example [[demo]] or
[[bash:echo hi]].`,
		Example: `  poco model --addr 127.0.0.1:8089
  ANTHROPIC_BASE_URL=http://127.0.0.1:8089 ANTHROPIC_AUTH_TOKEN=any poco up`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := lifecycle.SignalContext(cmd.Context())
			defer stop()
			server, err := scriptedmodel.Start(context.WithoutCancel(ctx), addr, scriptedmodel.Options{Token: token})
			if err != nil {
				return &exitError{exitFailed, err}
			}
			fmt.Fprintf(c.out, "The scripted model is ready: %s\nScenarios:", server.URL)
			for _, scenario := range scriptedmodel.Builtin() {
				fmt.Fprintf(c.out, " [[%s]]", scenario.Name)
			}
			fmt.Fprintln(c.out)
			<-ctx.Done()
			return server.Close()
		},
	}
	cmd.Flags().StringVar(&addr, "addr", "127.0.0.1:8089", "listen address; port 0 takes a free one")
	cmd.Flags().StringVar(&token, "token", "", "the bearer token that callers must show; none: any will do")
	return cmd
}
