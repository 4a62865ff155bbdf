package command

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/config/schema"
	"github.com/poco-ai/poco/services/poco/internal/configview"
	"github.com/poco-ai/poco/services/poco/internal/terminal"
)

// checkFlags are the flags of "poco config check".
type checkFlags struct {
	services                                       []string
	envFile                                        string
	environment, production, strict, peers, asJSON bool
}

func (c *cli) configCheckCommand() *cobra.Command {
	var flags checkFlags
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Tell whether the services would start with these settings",
		Long: `Tell whether the services would start with these settings, by the code with which
they read them at their start; nothing is called or changed. Besides what a start
would refuse it finds variables that no service reads (with what was probably
meant), insecure defaults, weak secrets and old names.

It reads what a service that is started here would: the variables of this shell
and ./.env, and looks at the folders that these name. With --env-file it reads that
file alone, so that the variables and folders of a CI runner do not count; --with-environment lets them count. It is about backend,
manager and frontend, and any other service that the settings are meant for.

Exit codes: 0 every service would start, 1 one would not (or, with --strict, there
are warnings; with --peers, what has to agree does not, or could not be
compared), 2 wrong use, 4 with --peers: a service cannot be reached.`,
		Example: `  poco config check
  poco config check --env-file prod.env --production --strict
  poco config check --service manager --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.check(cmd, flags) },
	}
	cmd.Flags().StringSliceVar(&flags.services, "service", nil, "check for these services only: "+strings.Join(serviceNames(), ", "))
	cmd.Flags().StringVar(&flags.envFile, "env-file", "", "check this file instead of ./.env and the variables of this shell")
	cmd.Flags().BoolVar(&flags.environment, "with-environment", false, "with --env-file: the variables of this shell count, too")
	cmd.Flags().BoolVar(&flags.production, "production", false, "check as if APP_ENV were production: what has to be changed before")
	cmd.Flags().BoolVar(&flags.strict, "strict", false, "warnings count as problems")
	cmd.Flags().BoolVar(&flags.peers, "peers", false, "also make the running services compare themselves, see poco config peers")
	cmd.Flags().BoolVar(&flags.asJSON, "json", false, "print problems, findings and reports as JSON")
	cmd.MarkFlagsMutuallyExclusive("peers", "json")
	return cmd
}

func serviceNames() []string {
	var names []string
	for _, service := range schema.Services() {
		names = append(names, service.Name)
	}
	return names
}

// checkNames refuses what is no service.
func checkNames(services []string) error {
	for _, name := range services {
		if _, ok := schema.Named(name); !ok {
			return usageError("%q is not a service: use %s", name, strings.Join(serviceNames(), ", "))
		}
	}
	return nil
}

// sourcesOf are what is to be checked, and its name.
func (c *cli) sourcesOf(flags checkFlags) (src config.Sources, name string, err error) {
	src = c.sources
	switch {
	case flags.envFile == "" && flags.environment:
		return src, "", usageError("--with-environment goes with --env-file: without it the variables of this shell count anyway")
	case flags.envFile == "":
		name = "the variables of this shell"
		if src.DotEnvPath != "" {
			name += " and " + src.DotEnvPath
		}
	case !exists(flags.envFile):
		return src, "", usageError("there is no file %s", flags.envFile)
	case flags.environment:
		src.DotEnvPath, src.DotEnvRequired = flags.envFile, true
		name = "the variables of this shell and " + flags.envFile
	default:
		src, name = config.File(flags.envFile), flags.envFile
	}
	if flags.production {
		src, name = src.ForProduction(), name+", as if for production"
	}
	return src, name, nil
}

func (c *cli) check(cmd *cobra.Command, flags checkFlags) error {
	if err := checkNames(flags.services); err != nil {
		return err
	}
	src, name, err := c.sourcesOf(flags)
	if err != nil {
		return err
	}
	services := flags.services
	if len(services) == 0 {
		services = append(slices.Clone(fleetServices), config.AlsoFor(src, fleetServices)...)
	}
	check := config.CheckEnvironment(src, services...)
	if flags.envFile == "" { // a service would be started here
		checkFolders(check)
	}
	if flags.asJSON {
		err = configview.CheckJSON(c.out, check)
	} else {
		c.showCheck(check, name)
	}
	if err != nil {
		return err
	}
	failed := check.Err() != nil || flags.strict && warnings(check) > 0
	if flags.peers {
		targets, err := c.targets(nil, nil)
		if err != nil {
			return err
		}
		fmt.Fprintln(c.out)
		agree, unanswered, err := c.checkPeers(cmd.Context(), targets, false)
		if err != nil {
			return err
		}
		if !failed && agree {
			return silent(unanswered)
		}
		failed = true
	}
	if failed {
		return &exitError{exitFailed, nil}
	}
	return nil
}

// warnings counts what is worth a look, each once.
func warnings(check config.Check) int {
	said := map[string]bool{}
	count := func(findings []*configv1.ConfigFinding) {
		for _, f := range findings {
			if f.GetSeverity() == configv1.ConfigSeverity_CONFIG_SEVERITY_WARNING {
				said[f.GetEnv()+f.GetMessage()] = true
			}
		}
	}
	count(check.Strays)
	for _, service := range check.Services {
		count(service.Report.GetFindings())
	}
	return len(said)
}

func (c *cli) showCheck(check config.Check, name string) {
	view := c.view()
	var columns []configview.Column
	var names []string
	for _, service := range check.Services {
		columns = append(columns, configview.Column{Title: service.Service, Report: service.Report})
		names = append(names, service.Service)
	}
	fmt.Fprintln(c.out, "Checked for "+strings.Join(names, ", ")+": "+terminal.Clean(name))
	if err := check.Err(); err != nil {
		fmt.Fprintln(c.out, "\n"+terminal.Clean(err.Error()))
	}
	view.Findings(columns, check.Strays)
	verdict := view.Style.Good("Every service would start")
	if check.Err() != nil {
		verdict = view.Style.Bad("This would be refused")
	}
	switch n := warnings(check); n {
	case 0:
		verdict += "; no warnings."
	case 1:
		verdict += "; 1 warning."
	default:
		verdict += fmt.Sprintf("; %d warnings.", n)
	}
	fmt.Fprintln(c.out, "\n"+verdict)
}
