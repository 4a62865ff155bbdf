package command

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/poco-ai/poco/services/poco/internal/configview"
	"github.com/poco-ai/poco/services/poco/internal/fleet"
	"github.com/poco-ai/poco/services/poco/internal/terminal"
)

func (c *cli) configPeersCommand() *cobra.Command {
	var urls []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "peers [SERVICE…]",
		Short: "Tell whether the running services agree on tokens and settings",
		Long: `Make every running service compare itself with those whose URLs it has been
given: the internal token, the bucket, the callback URL, versions and whatever
else has to agree. No value leaves a service: secrets are compared in a way that
tells only whether they are equal. It needs no token, for it is what to use when
tokens differ.
` + addressHelp + `

Exit codes: 0 all that has to agree does, 1 something does not or could not be
compared, 2 wrong use, 4 a service cannot be reached.`,
		Example: `  poco config peers
  poco config peers manager
  poco config peers --url http://10.0.0.5:8001`,
		ValidArgs: fleetServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			targets, err := c.targets(args, urls)
			if err != nil {
				return err
			}
			agree, unanswered, err := c.checkPeers(cmd.Context(), targets, asJSON)
			switch {
			case err != nil:
				return err
			case !agree:
				return &exitError{exitFailed, nil}
			default:
				return silent(unanswered)
			}
		},
	}
	cmd.Flags().StringArrayVar(&urls, "url", nil, "ask the service at this URL, of any kind; may be repeated")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the answers as JSON: poco.config.v1.CheckPeersResponse")
	return cmd
}

// checkPeers asks the targets and shows what they say.
func (c *cli) checkPeers(ctx context.Context, targets []fleet.Target, asJSON bool) (agree, unanswered bool, err error) {
	answers := c.fleet().CheckPeers(ctx, targets)
	broken := slices.ContainsFunc(answers, func(a fleet.PeerAnswer) bool { return configview.Broken(a.Report) })
	agree = !broken && !slices.ContainsFunc(answers, func(a fleet.PeerAnswer) bool { return configview.Uncompared(a.Report) })
	unanswered = fleet.AnyFailed(answers)
	if asJSON {
		return agree, unanswered, configview.RepliesJSON(c.out, answers)
	}
	view := c.view()
	for i, answer := range answers {
		if i > 0 {
			fmt.Fprintln(c.out)
		}
		title := "The " + answer.Name()
		if answer.Name() == "" {
			title = "The service"
		}
		title += " at " + answer.URL
		if answer.Err != nil {
			fmt.Fprintln(c.out, view.Style.Bad(terminal.OneLine(title+" "+answer.Err.Error())))
			continue
		}
		view.Peers(title, answer.Report)
	}
	switch {
	case broken:
		fmt.Fprintln(c.out, "\n"+view.Style.Bad("Something that has to agree does not."))
	case !agree:
		fmt.Fprintln(c.out, "\n"+view.Style.Bad("Not everything that has to agree could be compared."))
	case !unanswered:
		fmt.Fprintln(c.out, "\n"+view.Style.Good("All that has to agree does."))
	}
	return agree, unanswered, nil
}
