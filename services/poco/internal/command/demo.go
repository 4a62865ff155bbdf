package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/poco-ai/poco/services/poco/internal/stack"
	"github.com/poco-ai/poco/services/poco/internal/terminal"
)

// Prompts of the demo: the marker chooses the scripted model's scenario, the
// other asks a real model for about the same.
const (
	scriptedPrompt = "[[demo]] Show what you can do."
	realPrompt     = "Plan your work as a to-do list first. Then create hello.txt with a one-line greeting, " +
		"run a shell command that counts its words, add a second line to it, and sum up in one sentence."
)

func (c *cli) demoCommand() *cobra.Command {
	var flags stackFlags
	var once bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Start everything and run one task to the end",
		Long: `Start everything on this machine, as "poco up" does, and run one task to the end:
with the model behind ANTHROPIC_AUTH_TOKEN or ANTHROPIC_API_KEY, or without, with a
scripted model that plays a written scenario. Poco then keeps running until
Ctrl-C; with --once it stops.
` + exitHelp,
		Example: `  poco demo --once
  ANTHROPIC_AUTH_TOKEN=… poco demo`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			shown := false
			err := c.up(cmd.Context(), flags, func(token bool) bool { return !token }, func(ctx context.Context, info stack.Info) error {
				err := c.demo(ctx, info, once)
				shown = err == nil || errors.Is(err, errDone)
				return err
			})
			if err == nil && !shown {
				return &exitError{exitCanceled, errors.New("stopped before the task was done")}
			}
			return err
		},
	}
	flags.register(cmd)
	cmd.Flags().BoolVar(&once, "once", false, "stop everything after the task")
	return cmd
}

// demoPatience is how long the demo lets a person think about a question before
// it takes the first option itself.
const demoPatience = 30 * time.Second

// errDone ends a demo that ran well.
var errDone = &exitError{exitOK, nil}

func (c *cli) demo(ctx context.Context, info stack.Info, once bool) error {
	prompt := realPrompt
	if info.Scripted {
		prompt = scriptedPrompt
	}
	patience := time.Millisecond // nobody is there
	if c.interactive() {
		patience = demoPatience
	}
	style := terminal.Style(c.screen().color)
	fmt.Fprintf(c.out, "\n%s\n", style.Bold("› "+prompt))
	if err := c.run(ctx, c.clientOf(info), prompt, runFlags{waitExport: true, firstOption: patience, embedded: true}); err != nil {
		return err
	}
	fmt.Fprintf(c.out, "\nThe workspace is in %s, its export in the S3 server.\n", info.DataDir+"/workspaces")
	if once {
		fmt.Fprintln(c.out, `Poco stops now; "poco up" shows the session again.`)
		return errDone
	}
	fmt.Fprintf(c.out, "The whole session is at %s. Poco keeps running; Ctrl-C stops it.\n", info.URL)
	return nil
}
