package command

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/poco/internal/configview"
	"github.com/poco-ai/poco/services/poco/internal/fleet"
	"github.com/poco-ai/poco/services/poco/internal/terminal"
)

// fleetServices are the services that "poco config" asks, in this order.
var fleetServices = []string{"backend", "manager", "frontend"}

const (
	addressHelp = `
The services are asked at POCO_URL, POCO_MANAGER_URL and
POCO_FRONTEND_URL (default http://localhost: 8000, 8001 and 3000), or where --url
says.`
	fleetHelp = addressHelp + ` One in production wants the internal token: INTERNAL_API_TOKEN, or
INTERNAL_API_TOKEN_FILE, in the environment or in ./.env.
`
)

func (c *cli) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Explain, check and compare the settings of all services",
		Long: `Explain, check and compare the settings of all services. No command shows a
secret, and none changes a running service.

  which value is in force, and from where?      poco config show
  all about one variable                        poco config explain LOG_LEVEL
  would a start be refused, and why?            poco config check
  what must change before production?           poco config check --production
  what differs between two replicas?            poco config diff URL URL
  what differs between .env and what runs?      poco config diff .env manager
  do the services have the same token?          poco config peers
  what changes without a restart?               poco config show --live
  what has changed on disk, not in force?       poco config show --pending
  a new .env, with secrets                      poco config init`,
		Example: `  poco config show
  poco config explain S3_ENDPOINT
  poco config check --strict`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		// Instead of the root's: these commands are for broken settings, too.
		PersistentPreRunE: func(*cobra.Command, []string) error {
			c.loadLeniently()
			return nil
		},
	}
	cmd.AddCommand(c.configShowCommand(), c.configExplainCommand(), c.configDiffCommand(), c.configPeersCommand(), c.configCheckCommand(), c.configInitCommand())
	return cmd
}

// loadLeniently loads the command line's own settings as far as they can be. What
// is wrong with one is said by the command that needs it, and with all of them by
// "poco config check".
func (c *cli) loadLeniently() {
	c.config, c.problems = config.Inspect(&configv1.PocoConfig{}, "poco", c.sources)
}

// targets are the services of these names, or those at the URLs, or the whole
// fleet.
func (c *cli) targets(names, urls []string) ([]fleet.Target, error) {
	var targets []fleet.Target
	for _, text := range urls {
		target, err := urlTarget(text)
		if err != nil {
			return nil, err
		}
		targets = append(targets, target)
	}
	if len(names) == 0 && len(urls) == 0 {
		names = fleetServices
	}
	for _, name := range names {
		target, err := c.serviceTarget(name)
		if err != nil {
			return nil, err
		}
		targets = append(targets, target)
	}
	return targets, nil
}

func urlTarget(text string) (fleet.Target, error) {
	full := text
	if !strings.Contains(text, "://") {
		full = "http://" + text
	}
	u, err := url.Parse(full)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fleet.Target{}, usageError("a URL such as http://host:8001 is expected, without user, password and query")
	}
	return fleet.Target{Setting: "the URL", URL: full}, nil
}

func (c *cli) serviceTarget(name string) (fleet.Target, error) {
	if !slices.Contains(fleetServices, name) {
		return fleet.Target{}, usageError("%q is not a service that can be asked: use %s, or --url for another address",
			name, strings.Join(fleetServices, ", "))
	}
	msg := c.config.Msg
	target := map[string]fleet.Target{
		"backend":  {Setting: "POCO_URL", URL: msg.GetBackendUrl()},
		"manager":  {Setting: "POCO_MANAGER_URL", URL: msg.GetManagerUrl()},
		"frontend": {Setting: "POCO_FRONTEND_URL", URL: msg.GetFrontendUrl()},
	}[name]
	if name == "backend" && c.backend != "" {
		target = fleet.Target{Setting: "--backend", URL: c.backend}
	}
	for _, problem := range c.problems {
		if problem.Env == target.Setting {
			return fleet.Target{}, &exitError{exitUsage, &config.Problems{Service: "command line", List: []config.Problem{problem}}}
		}
	}
	target.Service = name
	return target, nil
}

// fleet returns the client that asks services.
func (c *cli) fleet() *fleet.Client {
	return fleet.New(c.config.Secret("INTERNAL_API_TOKEN"), c.access())
}

// view is where settings are shown.
func (c *cli) view() configview.Screen {
	screen := c.screen()
	return configview.Screen{Out: c.out, Style: terminal.Style(screen.color), Width: screen.width}
}

// silent is the outcome of a command that did not get all answers it asked for,
// and has said so.
func silent(unanswered bool) error {
	if unanswered {
		return &exitError{exitLost, nil}
	}
	return nil
}

// roster writes one line for each service that was asked.
func (c *cli) roster(answers []fleet.Answer) {
	titles := fleet.Titles(answers)
	width := 0
	for i, title := range titles {
		if title == "" {
			titles[i] = "service"
		}
		titles[i] = terminal.OneLine(titles[i])
		width = max(width, len(titles[i]))
	}
	style := c.view().Style
	for i, answer := range answers {
		line := fmt.Sprintf("%-*s  %s  ", width, titles[i], answer.URL)
		switch {
		case answer.Err != nil:
			line += style.Bad(terminal.OneLine(answer.Err.Error()))
		case answer.Service != "" && answer.Service != answer.Name():
			line += style.Bad("this is the " + terminal.OneLine(answer.Name()) + ", not the " + answer.Service + ": check " + answer.Setting)
		default:
			line += style.Dim("version " + terminal.OneLine(answer.Report.GetVersion()))
		}
		fmt.Fprintln(c.out, line)
	}
}
