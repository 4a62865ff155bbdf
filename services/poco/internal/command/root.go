// Package command is the poco command line.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"syscall"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/lifecycle"
	"github.com/poco-ai/poco/services/poco/internal/client"
	"github.com/poco-ai/poco/services/poco/internal/terminal"
)

// Exit codes of every command, told in the help.
const (
	exitOK       = 0
	exitFailed   = 1
	exitUsage    = 2
	exitCanceled = 3
	exitLost     = 4
	exitDetached = 5
)

const exitHelp = `
Exit codes: 0 completed, 1 failed, 2 wrong use or refused input, 3 canceled,
4 the backend cannot be reached, 5 left while the run goes on.`

// exitError ends the program with a code; err may be nil when all is said.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usageError(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// cli is what all commands share.
type cli struct {
	sources config.Sources
	config  *config.Loaded[*configv1.PocoConfig]
	// problems are what is wrong with the settings, where a command goes on
	// without them.
	problems []config.Problem
	in       io.Reader
	out      io.Writer
	err      io.Writer
	backend  string
	// data is the folder of --data-dir; empty when it is not given.
	data string
}

// Main runs the command line and returns the exit code.
func Main(sources config.Sources, args []string, in io.Reader, out, stderr io.Writer) int {
	c := &cli{sources: sources, in: in, out: out, err: stderr}
	root := c.root()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(stderr)
	return c.exitCode(root.ExecuteContext(context.Background()))
}

func (c *cli) exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	code := exitUsage // cobra's own errors: unknown flags and commands
	var exit *exitError
	var file *fs.PathError
	switch {
	case errors.As(err, &exit):
		code = exit.code
	case errors.Is(err, client.ErrConnectionLost):
		code = exitLost
	case errors.As(err, &file): // what there is to say cannot be written
		code = exitFailed
	}
	if text := err.Error(); text != "" {
		fmt.Fprintln(c.err, "poco: "+terminal.Clean(text))
	}
	return code
}

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "poco",
		Short: "Run coding agents on your own machine",
		Long: `Poco runs coding agents: a prompt becomes a run, executed by Claude Code in a
workspace of its own, with every step shown live.

Start everything with "poco up", then send work with "poco run".`,
		Example: `  poco demo --once
  poco up
  poco run "add a README to this repository: https://github.com/me/thing"`,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			loaded, err := config.Load(&configv1.PocoConfig{}, "poco", c.sources)
			if err != nil {
				return &exitError{exitUsage, err}
			}
			c.config = loaded
			return c.checkBackendFlag()
		},
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.PersistentFlags().StringVar(&c.backend, "backend", "",
		"URL of the backend, or of the frontend's /api/v1 (POCO_URL, default http://localhost:8000)")
	root.PersistentFlags().StringVar(&c.data, "data-dir", "",
		"folder in which \"poco up\" keeps everything (POCO_DATA_DIR, default "+defaultDataDirHelp()+")")
	root.AddCommand(
		c.upCommand(), c.demoCommand(), c.runCommand(), c.attachCommand(), c.lsCommand(),
		c.cancelCommand(), c.diffCommand(), c.answerCommand(), c.modelCommand(), c.executorCommand(), c.fetchCommand(), c.configCommand(), c.tokenCommand(), c.versionCommand(),
	)
	return root
}

// checkBackendFlag says of --backend what a start says of the variable.
func (c *cli) checkBackendFlag() error {
	if c.backend == "" {
		return nil
	}
	_, err := config.Load(&configv1.PocoConfig{}, "poco", config.Sources{Environ: []string{"POCO_URL=" + c.backend}})
	var refused *config.Problems
	if errors.As(err, &refused) {
		return usageError("--backend: %s: %s", refused.List[0].Message, refused.List[0].Fix)
	}
	return err
}

// refused turns an answer of the backend into an error with an exit code.
func (c *cli) refused(backend *client.Backend, err error) error {
	var stranger *client.StrangerError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return &exitError{exitDetached, nil}
	case errors.As(err, &stranger):
		return &exitError{exitLost, stranger}
	case client.IsUnavailable(err):
		return &exitError{exitLost, fmt.Errorf("the backend at %s cannot be reached: %s\nIs it running? Start everything with: poco up", backend.URL, client.Message(err))}
	case client.IsUnauthenticated(err):
		return &exitError{exitUsage, fmt.Errorf("the backend at %s refuses: %s\n%s", backend.URL, client.Message(err), backend.Hint)}
	default:
		return &exitError{exitUsage, errors.New(client.Message(err))}
	}
}

// screen says what the output can show.
type screen struct {
	terminal bool
	color    bool
	width    int
}

func (c *cli) screen() screen {
	file, ok := c.out.(*os.File)
	if !ok || !isatty.IsTerminal(file.Fd()) {
		return screen{}
	}
	s := screen{terminal: true, color: c.config.Msg.GetNoColor() == "" && c.config.Msg.GetTerminal() != "dumb"}
	if width, _, err := term.GetSize(int(file.Fd())); err == nil {
		s.width = width
	}
	return s
}

// interactive tells whether a person can be asked: input and output are
// terminals.
func (c *cli) interactive() bool {
	file, ok := c.in.(*os.File)
	return ok && isatty.IsTerminal(file.Fd()) && c.screen().terminal
}

// endings returns the channel of the signals that end this program. That output
// is gone shows as an error of writing.
func endings() (chan os.Signal, func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, lifecycle.Endings()...)
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGPIPE)
	return signals, func() { signal.Stop(signals); signal.Stop(broken) }
}
