package command

import (
	"github.com/spf13/cobra"

	"github.com/poco-ai/poco/services/poco/internal/client"
	"github.com/poco-ai/poco/services/poco/internal/conversation"
)

func (c *cli) attachCommand() *cobra.Command {
	var asJSON, stay bool
	var after int64
	cmd := &cobra.Command{
		Use:   "attach SESSION",
		Short: "Show a session from its beginning and follow it live",
		Long: `Show a session from its beginning and follow it live, all runs of it, until
nothing is queued, running or being exported; the exit code is that of the last
run. With --follow it stays for runs to come. Open questions are asked when this
is a terminal. Ctrl-C leaves; the session goes on.
` + exitHelp,
		Example: `  poco attach 6f9c…
  poco attach --json 6f9c… > session.jsonl
  poco attach --follow 6f9c…`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			signals, stop := endings()
			defer stop()
			return c.follow(cmd.Context(), &conversation.Follower{
				Backend: c.client(), Signals: signals,
				Watch: client.Watch{SessionID: args[0], AfterSeq: after, StopWhenIdle: !stay},
			}, asJSON, true)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one event per line as JSON")
	cmd.Flags().BoolVarP(&stay, "follow", "f", false, "stay when nothing is going on, for runs to come")
	cmd.Flags().Int64Var(&after, "after", 0, "leave out events up to this number")
	return cmd
}
