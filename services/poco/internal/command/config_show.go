package command

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/poco/internal/configview"
	"github.com/poco-ai/poco/services/poco/internal/fleet"
)

func (c *cli) configShowCommand() *cobra.Command {
	var urls []string
	var all, live, pending, asJSON bool
	cmd := &cobra.Command{
		Use:   "show [SERVICE…]",
		Short: "Show which values running services use, and from where",
		Long: `Show which values running services use, and from where: the backend, the manager
and the frontend side by side, or those that are named. Without flags it shows
what somebody has set, what is required, and what needs attention.
` + fleetHelp + `
Exit codes: 0 every service has answered, 2 wrong use, 4 one cannot be reached or
refuses; the others are shown nevertheless.`,
		Example: `  poco config show
  poco config show manager --all
  poco config show --url http://10.0.0.5:8001 --url http://10.0.0.6:8001
  poco config show --json | jq '.services[].report.findings'`,
		ValidArgs: fleetServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			targets, err := c.targets(args, urls)
			if err != nil {
				return err
			}
			filter := configview.Told
			switch {
			case live:
				filter = configview.Live
			case pending:
				filter = configview.Pending
			case all || asJSON:
				filter = configview.All
			}
			answers := c.fleet().Ask(cmd.Context(), targets)
			if asJSON {
				return c.showJSON(answers, filter)
			}
			return c.showTable(answers, filter)
		},
	}
	cmd.Flags().StringArrayVar(&urls, "url", nil, "ask the service at this URL, of any kind; may be repeated")
	cmd.Flags().BoolVar(&all, "all", false, "show every setting")
	cmd.Flags().BoolVar(&live, "live", false, "show what changes without a restart")
	cmd.Flags().BoolVar(&pending, "pending", false, "show what has changed on disk and is not in force")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the reports as JSON: every field, see poco.config.v1.GetConfigResponse")
	cmd.MarkFlagsMutuallyExclusive("all", "live", "pending")
	return cmd
}

func (c *cli) showTable(answers []fleet.Answer, filter configview.Filter) error {
	c.roster(answers)
	titles := fleet.Titles(answers)
	var columns []configview.Column
	for i, answer := range answers {
		if answer.Err == nil {
			columns = append(columns, configview.Column{Title: titles[i], Report: answer.Report})
		}
	}
	if len(columns) > 0 {
		fmt.Fprintln(c.out)
		if err := c.showColumns(columns, filter); err != nil {
			return err
		}
	}
	return silent(fleet.AnyFailed(answers))
}

func (c *cli) showColumns(columns []configview.Column, filter configview.Filter) error {
	view := c.view()
	if filter == configview.Pending {
		return c.showPending(view, columns)
	}
	if err := view.Table(columns, filter); err != nil {
		return err
	}
	if filter != configview.Live {
		view.Findings(columns, nil)
	}
	return nil
}

// showPending shows what is not in force, and why changes are not followed.
func (c *cli) showPending(view configview.Screen, columns []configview.Column) error {
	rows, err := view.PendingTable(columns)
	if err != nil {
		return err
	}
	refusals := 0
	for _, column := range columns {
		column.Report.Findings = slices.DeleteFunc(column.Report.GetFindings(), func(f *configv1.ConfigFinding) bool {
			return f.GetCode() != config.FindingReloadRefused
		})
		refusals += len(column.Report.GetFindings())
	}
	if rows+refusals == 0 {
		fmt.Fprintln(c.out, "Nothing has changed on disk that is not in force.")
	}
	view.Findings(columns, nil)
	return nil
}

func (c *cli) showJSON(answers []fleet.Answer, filter configview.Filter) error {
	for _, answer := range answers {
		if answer.Err == nil {
			answer.Report.Fields = slices.DeleteFunc(answer.Report.GetFields(), func(f *configv1.ConfigField) bool { return !filter.Has(f) })
		}
	}
	if err := configview.RepliesJSON(c.out, answers); err != nil {
		return err
	}
	return silent(fleet.AnyFailed(answers))
}
