package command

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/poco-ai/poco/services/internal/config/schema"
	"github.com/poco-ai/poco/services/poco/internal/dotenv"
	"github.com/poco-ai/poco/services/poco/internal/stack"
	"github.com/poco-ai/poco/services/poco/internal/terminal"
)

func (c *cli) configInitCommand() *cobra.Command {
	var path string
	var services []string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write a new .env with generated secrets",
		Long: `Write a new .env with generated secrets, fit for running every service on this
machine: what is required has a value, all other settings are there as comments.
Only you can read the file. One that exists already is never overwritten.

"poco up" needs no such file: it keeps secrets and addresses of its own. With one,
it uses the servers that the file names.

Exit codes: 0 written, 1 it could not be written or exists already, 2 wrong use.`,
		Example: `  poco config init
  poco config init --file prod.env
  poco config init --file manager.env --service manager`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return c.initConfig(path, services) },
	}
	cmd.Flags().StringVar(&path, "file", ".env", "the file to write")
	cmd.Flags().StringSliceVar(&services, "service", append(slices.Clone(fleetServices), "stack"),
		"the services it is for: "+strings.Join(serviceNames(), ", "))
	return cmd
}

func (c *cli) initConfig(path string, names []string) error {
	if err := checkNames(names); err != nil {
		return err
	}
	services := slices.DeleteFunc(schema.Services(), func(s schema.Service) bool { return !slices.Contains(names, s.Name) })
	data, err := stack.DefaultDataDir(c.config.Msg.GetUserDataHome())
	if err != nil {
		return &exitError{exitFailed, err}
	}
	file, err := dotenv.New(services, filepath.Join(data, "workspaces"))
	if err != nil {
		return &exitError{exitFailed, err}
	}
	err = file.Write(path)
	if errors.Is(err, dotenv.ErrExists) {
		err = fmt.Errorf("%w: choose another name with --file, or move it away first", err)
	}
	if err != nil {
		return &exitError{exitFailed, err}
	}
	fmt.Fprintf(c.out, "Wrote %s, readable by you alone.\n", terminal.Clean(path))
	if len(file.Generated) > 0 {
		fmt.Fprintf(c.out, "Generated: %s.\n", strings.Join(file.Generated, ", "))
	}
	check := "poco config check"
	if path != ".env" {
		check += " --env-file " + shellWord(path)
	}
	fmt.Fprintf(c.out, "Look through what it says about addresses and the model, then: %s\n", check)
	if slices.Contains(file.Generated, "CLIENT_TOKEN") {
		fmt.Fprintln(c.out, "Clients show CLIENT_TOKEN; the poco command reads it from POCO_TOKEN.")
	}
	return nil
}

// shellWord quotes text for a shell where it needs that.
func shellWord(text string) string {
	if strings.ContainsAny(text, " \t\n'\"\\$`!&;|<>()*?[]{}~#") {
		return shellQuote(text)
	}
	return text
}
