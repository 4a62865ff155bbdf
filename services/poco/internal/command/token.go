package command

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/poco-ai/poco/services/poco/internal/localstack"
)

func (c *cli) tokenCommand() *cobra.Command {
	var link bool
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Print the token that opens a local Poco",
		Long: `Print the token that opens the Poco that this user has started with "poco up",
for programs that call its API: they show it as Authorization: Bearer. The other
commands find it by themselves. With --link, print the link that signs the web
page in; it needs a running Poco.
` + exitHelp,
		Example: `  curl -H "Authorization: Bearer $(poco token)" -H 'Content-Type: application/json' -d '{}' \
    http://localhost:8000/poco.backend.v1.SessionService/ListSessions
  poco token --link`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			dir, err := c.dataDir()
			if err != nil {
				return &exitError{exitFailed, err}
			}
			if link {
				local, err := localstack.Find(dir)
				if err != nil {
					return &exitError{exitFailed, err}
				}
				fmt.Fprintln(c.out, local.SignInURL())
				return nil
			}
			token, err := localstack.ReadToken(dir)
			if err == nil && token == "" {
				err = errors.New(localstack.TokenPath(dir) + ` is empty: start "poco up" again`)
			}
			if err != nil {
				return &exitError{exitFailed, err}
			}
			fmt.Fprintln(c.out, token)
			return nil
		},
	}
	cmd.Flags().BoolVar(&link, "link", false, "print the link that signs the web page in")
	return cmd
}
