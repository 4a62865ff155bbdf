package command

import (
	"fmt"

	"connectrpc.com/connect/v2"
	"github.com/spf13/cobra"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

func (c *cli) cancelCommand() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "cancel RUN|SESSION",
		Short: "Cancel a run, or all runs of a session",
		Example: `  poco cancel 6f9c…
  poco cancel --reason "wrong branch" 6f9c…`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			backend := c.client()
			run, err := backend.Runs.CancelRun(cmd.Context(), &backendv1.CancelRunRequest{RunId: args[0], Reason: reason})
			if err == nil {
				fmt.Fprintf(c.out, "run %s: %s\n", args[0], word(run.GetRun().GetStatus().String(), "RUN_STATUS_"))
				return nil
			}
			if connect.CodeOf(err) != connect.CodeNotFound {
				return c.refused(backend, err)
			}
			session, err := backend.Sessions.CancelSession(cmd.Context(), &backendv1.CancelSessionRequest{SessionId: args[0], Reason: reason})
			if connect.CodeOf(err) == connect.CodeNotFound {
				return usageError("there is no run and no session %s", args[0])
			}
			if err != nil {
				return c.refused(backend, err)
			}
			if len(session.GetCanceledRunIds()) == 0 {
				fmt.Fprintln(c.out, "nothing was queued or running")
			}
			for _, id := range session.GetCanceledRunIds() {
				fmt.Fprintf(c.out, "run %s: canceling\n", id)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "shown as the run's message")
	return cmd
}
