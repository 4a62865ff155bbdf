package command

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/config/peers"
	"github.com/poco-ai/poco/services/poco/internal/configdiff"
	"github.com/poco-ai/poco/services/poco/internal/configview"
	"github.com/poco-ai/poco/services/poco/internal/fleet"
	"github.com/poco-ai/poco/services/poco/internal/terminal"
)

func (c *cli) configDiffCommand() *cobra.Command {
	var services []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Tell which settings differ between two services or env files",
		Long: `Tell which settings differ between two services or env files. A and B are each

  backend, manager, frontend   that service, at its usual URL
  http://host:8001             the service there
  .env, ./prod.env, a/b        that env file: what it alone would give

Two env files are compared for every service that reads them. Of a secret it
tells whether both have one and, where that can be found out without showing it,
whether they are equal: between two files, between a file and a service, and
between two services when this environment has the secret, too.
` + fleetHelp + `
Exit codes: 0 no setting differs, 1 some do, 2 wrong use, or something cannot be
asked or read.`,
		Example: `  poco config diff .env manager
  poco config diff http://10.0.0.5:8001 http://10.0.0.6:8001
  poco config diff staging.env production.env --service backend`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var sides [2]side
			for i, arg := range args {
				var err error
				if sides[i], err = c.side(arg); err != nil {
					return err
				}
			}
			differences, err := c.diff(cmd.Context(), sides, services)
			if err != nil {
				return err
			}
			return c.showDifferences(args[0], args[1], differences, asJSON)
		},
	}
	cmd.Flags().StringSliceVar(&services, "service", fleetServices, "for two env files: the services for which to compare them")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the differences as JSON; fields are poco.config.v1.ConfigField")
	return cmd
}

// side is one side of a comparison: a service or an env file.
type side struct {
	target fleet.Target
	// file is empty when the side is a service.
	file string
}

// side says what an argument means.
func (c *cli) side(arg string) (side, error) {
	switch {
	case slices.Contains(fleetServices, arg):
		target, err := c.serviceTarget(arg)
		return side{target: target}, err
	case strings.Contains(arg, "://") || !exists(arg) && isHostPort(arg):
		target, err := urlTarget(arg)
		return side{target: target}, err
	case exists(arg):
		return side{file: arg}, nil
	case strings.ContainsAny(arg, "./"):
		return side{}, usageError("there is no file %s", arg)
	default:
		return side{}, usageError("%q is neither a service (%s), nor a URL, nor a file", arg, strings.Join(fleetServices, ", "))
	}
}

func exists(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}

func isHostPort(text string) bool {
	host, port, err := net.SplitHostPort(text)
	if err != nil || host == "" {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

func (c *cli) diff(ctx context.Context, sides [2]side, services []string) ([]configdiff.Difference, error) {
	left, right := sides[0], sides[1]
	switch {
	case left.file != "" && right.file != "":
		return c.diffFiles(left.file, right.file, services)
	case left.file != "":
		return c.diffFileService(ctx, left.file, right.target)
	case right.file != "":
		differences, err := c.diffFileService(ctx, right.file, left.target)
		for i, d := range differences {
			differences[i].Left, differences[i].Right = d.Right, d.Left
		}
		return differences, err
	default:
		return c.diffServices(ctx, left.target, right.target)
	}
}

func (c *cli) diffFiles(left, right string, services []string) ([]configdiff.Difference, error) {
	var all []configdiff.Difference
	for _, name := range services {
		l, err := c.inspectFile(name, left)
		if err != nil {
			return nil, err
		}
		r, err := c.inspectFile(name, right)
		if err != nil {
			return nil, err
		}
		all = configdiff.Merge(all, configdiff.Diff(l.Report, r.Report, func(env string) configv1.PeerResult {
			if l.Loaded.Secret(env).Equal(r.Loaded.Secret(env).Reveal()) {
				return configv1.PeerResult_PEER_RESULT_EQUAL
			}
			return configv1.PeerResult_PEER_RESULT_DIFFERENT
		}), name)
	}
	return all, nil
}

// inspectFile reads a file for a service. Lines that cannot be read are said.
func (c *cli) inspectFile(service, path string) (config.ServiceCheck, error) {
	inspected, err := config.CheckService(service, config.File(path))
	if err != nil {
		return inspected, usageError("%w", err)
	}
	for _, problem := range inspected.Problems {
		if problem.Env == "" {
			return inspected, usageError("%s cannot be compared: %s", path, problem)
		}
	}
	return inspected, nil
}

func (c *cli) diffFileService(ctx context.Context, path string, target fleet.Target) ([]configdiff.Difference, error) {
	client := c.fleet()
	answer, err := ask(ctx, client, target)
	if err != nil {
		return nil, err
	}
	inspected, err := c.inspectFile(answer.Name(), path)
	if err != nil {
		return nil, err
	}
	return configdiff.Diff(inspected.Report, answer.Report, c.secrets(ctx, client, answer, inspected).Of), nil
}

func (c *cli) diffServices(ctx context.Context, left, right fleet.Target) ([]configdiff.Difference, error) {
	client := c.fleet()
	l, err := ask(ctx, client, left)
	if err != nil {
		return nil, err
	}
	r, err := ask(ctx, client, right)
	if err != nil {
		return nil, err
	}
	var known [2]configdiff.Secrets
	for i, answer := range []fleet.Answer{l, r} {
		here, err := config.CheckService(answer.Name(), c.sources)
		if err != nil {
			return nil, usageError("%w", err)
		}
		if known[i] = c.secrets(ctx, client, answer, here); known[i] == nil {
			break
		}
	}
	return configdiff.Diff(l.Report, r.Report, configdiff.Between(known[0], known[1]).Of), nil
}

// secrets compares the secrets of a service with those here, without either side
// showing a value. Why that cannot be is said.
func (c *cli) secrets(ctx context.Context, client *fleet.Client, answer fleet.Answer, here config.ServiceCheck) configdiff.Secrets {
	report, err := client.ComparePeer(ctx, answer.Target, "poco", answer.Name(), here.Loaded.Comparable())
	if err != nil {
		c.note("secrets are not compared: " + peers.Explain(err))
		return nil
	}
	return configdiff.Reported(report)
}

func ask(ctx context.Context, client *fleet.Client, target fleet.Target) (fleet.Answer, error) {
	answer := client.Ask(ctx, []fleet.Target{target})[0]
	if answer.Err != nil {
		return answer, usageError("%s %w", strings.TrimSpace(answer.Name()+" at "+target.URL), answer.Err)
	}
	return answer, nil
}

// note says something beside the outcome.
func (c *cli) note(text string) { fmt.Fprintln(c.err, "note: "+terminal.Clean(text)) }

func (c *cli) showDifferences(left, right string, differences []configdiff.Difference, asJSON bool) error {
	if asJSON {
		if err := configview.DifferencesJSON(c.out, left, right, differences); err != nil {
			return err
		}
	} else if err := c.view().Differences(left, right, differences); err != nil {
		return err
	}
	if slices.ContainsFunc(differences, configdiff.Difference.IsDifferent) {
		return &exitError{exitFailed, nil}
	}
	return nil
}
