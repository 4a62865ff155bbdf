package command

import (
	"github.com/spf13/cobra"

	"github.com/poco-ai/poco/services/poco/internal/client"
	"github.com/poco-ai/poco/services/poco/internal/conversation"
)

func (c *cli) attachCommand() *cobra.Command {
	var asJSON, untilIdle bool
	var after int64
	cmd := &cobra.Command{
		Use:   "attach SESSION",
		Short: "Show a session from its beginning and follow it live",
		Long: `Show a session from its beginning and follow it live, all runs of it. Open
questions are asked when this is a terminal. Ctrl-C leaves; the session goes on.
` + exitHelp,
		Example: `  poco attach 6f9c…
  poco attach --until-idle --json 6f9c… > session.jsonl`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.follow(cmd.Context(), &conversation.Follower{
				Backend: c.client(),
				Watch:   client.Watch{SessionID: args[0], AfterSeq: after, StopWhenIdle: untilIdle},
			}, asJSON, true)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one event per line as JSON")
	cmd.Flags().BoolVar(&untilIdle, "until-idle", false, "end when nothing is queued, running or being exported")
	cmd.Flags().Int64Var(&after, "after", 0, "leave out events up to this number")
	return cmd
}
