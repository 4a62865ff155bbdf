package command

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/poco/internal/configview"
	"github.com/poco-ai/poco/services/poco/internal/fleet"
)

func (c *cli) configExplainCommand() *cobra.Command {
	var urls []string
	cmd := &cobra.Command{
		Use:   "explain NAME",
		Short: "Tell everything about one variable",
		Long: `Tell everything about one variable: what it is for, what it may be, who reads it,
and for each running service the value in force, from where, and what each other
source would have given. For a service that is not running, it tells what the
variables of this shell and ./.env would give.

The name may be written in any case, and be an alias.
` + fleetHelp + `
Exit codes: 0 told, 2 wrong use or no such variable.`,
		Example: `  poco config explain LOG_LEVEL
  poco config explain uvicorn_access_log
  poco config explain MAX_CONCURRENT_TASKS --url http://10.0.0.5:8001`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			env, readers := configview.Readers(args[0])
			if len(readers) == 0 {
				return unknownVariable(args[0])
			}
			view := c.view()
			view.Definition(env, readers)
			targets, err := c.explainTargets(readers, urls)
			if err != nil {
				return err
			}
			for _, answer := range c.fleet().Ask(cmd.Context(), targets) {
				if err := c.explainIn(view, env, answer); err != nil {
					return err
				}
			}
			if len(urls) > 0 || len(targets) > 0 {
				return nil
			}
			return c.explainHere(view, env, readers[0].Service, "In a new "+readers[0].Service)
		},
	}
	cmd.Flags().StringArrayVar(&urls, "url", nil, "ask the service at this URL, of any kind; may be repeated")
	return cmd
}

func unknownVariable(name string) error {
	if meant := config.Similar(name); meant != "" {
		return usageError("no service reads %s: did you mean %s?", name, meant)
	}
	return usageError("no service reads %s, and no variable has a name like it", name)
}

// explainTargets are the services to ask about a variable: those that read it.
func (c *cli) explainTargets(readers []configview.Reader, urls []string) ([]fleet.Target, error) {
	var names []string
	for _, reader := range readers {
		if len(urls) == 0 && slices.Contains(fleetServices, reader.Service) {
			names = append(names, reader.Service)
		}
	}
	if len(names) == 0 && len(urls) == 0 {
		return nil, nil
	}
	return c.targets(names, urls)
}

func (c *cli) explainIn(view configview.Screen, env string, answer fleet.Answer) error {
	if answer.Err == nil {
		view.InService("In the "+answer.Name()+" at "+answer.URL, answer.Report, env, nil)
		return nil
	}
	name := answer.Name()
	if name == "" {
		view.Unanswered(answer.URL, answer.Err)
		return nil
	}
	view.Unanswered("The "+name+" at "+answer.URL, answer.Err)
	return c.explainHere(view, env, name, "In a "+name+" started here")
}

// explainHere tells what this environment would give a service.
func (c *cli) explainHere(view configview.Screen, env, service, title string) error {
	here, err := config.CheckService(service, c.sources)
	if err != nil {
		return err
	}
	where := "with the variables of this shell"
	if c.sources.DotEnvPath != "" {
		where += " and " + c.sources.DotEnvPath
	}
	view.InService(fmt.Sprintf("%s, %s", title, where), here.Report, env, here.Problems)
	return nil
}
