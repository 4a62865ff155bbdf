package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"gopkg.in/natefinch/lumberjack.v2"

	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/lifecycle"
	"github.com/poco-ai/poco/services/poco/internal/stack"
	"github.com/poco-ai/poco/services/poco/internal/terminal"
)

// Size in MiB and number of the log files that are kept.
const (
	logFileSize = 20
	logFiles    = 3
)

// stackFlags are the flags of the commands that start everything.
type stackFlags struct {
	runtime string
	verbose bool
}

func (f *stackFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.runtime, "runtime", "",
		"where agents run: docker, process (no isolation at all) or auto (EXECUTOR_RUNTIME, default auto)")
	cmd.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "also write the services' logs to stderr")
}

func defaultDataDirHelp() string {
	if os.Geteuid() == 0 {
		return "/var/lib/poco"
	}
	return "poco in the user's data folder, ~/.local/share"
}

func (c *cli) upCommand() *cobra.Command {
	var flags stackFlags
	var scripted bool
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start everything on this machine",
		Long: `Start everything on this machine: Postgres and an S3 server of its own, the
backend (port 8000), the executor manager (8001) and the web page (3000). All
listen on loopback only, and the manager also where its containers reach it.

Every setting of the services is read from the environment and from ./.env as
usual. With DATABASE_URL or S3_ENDPOINT set, that server is used instead of an
embedded one. Secrets are generated once and kept in the data folder, like all
data. Other users of this machine cannot use it: its API wants the token that is,
for its owner only, in the file client-token of the data folder. The other commands
find it there, and the page opens with the link that is printed. Ctrl-C stops everything
in order, as does closing the terminal; a second Ctrl-C ends at once.`,
		Example: `  ANTHROPIC_AUTH_TOKEN=… poco up
  poco up --scripted-model
  poco up --runtime process --data-dir ./data
  PORT=8080 FRONTEND_HOST=0.0.0.0 poco up`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.up(cmd.Context(), flags, func(bool) bool { return scripted }, nil)
		},
	}
	flags.register(cmd)
	cmd.Flags().BoolVar(&scripted, "scripted-model", false, "let the scripted model stand in for a real one")
	return cmd
}

// up runs a stack until a signal ends it. then runs once everything is ready.
func (c *cli) up(ctx context.Context, flags stackFlags, scripted func(token bool) bool, then func(context.Context, stack.Info) error) error {
	switch flags.runtime {
	case "", "auto", "docker", "process":
	default:
		return usageError("--runtime %s is not known: use auto, docker or process", flags.runtime)
	}
	dir, err := c.dataDir()
	if err != nil {
		return &exitError{exitFailed, err}
	}
	log := &lumberjack.Logger{Filename: filepath.Join(dir, "logs", "poco.log"), MaxSize: logFileSize, MaxBackups: logFiles}
	defer log.Close()
	var logs io.Writer = log
	if flags.verbose {
		logs = io.MultiWriter(log, c.err)
	}
	ctx, stop := lifecycle.SignalContext(ctx)
	defer stop()
	err = stack.Run(ctx, stack.Options{
		DataDir: dir, Sources: c.sources, Runtime: flags.runtime, ScriptedModel: scripted,
		Poco:     c.config,
		Progress: c.progress, Log: logs,
	}, func(ctx context.Context, info stack.Info) error {
		c.announce(info)
		if then != nil {
			return then(ctx, info)
		}
		return nil
	})
	var exit *exitError
	var refused *config.Problems
	switch {
	case err == nil, errors.As(err, &exit):
		return err
	case errors.As(err, &refused):
		return &exitError{exitUsage, err}
	default:
		return &exitError{exitFailed, err}
	}
}

// dataDir is where "poco up" keeps everything.
func (c *cli) dataDir() (string, error) {
	dir := c.data
	if dir == "" {
		dir = c.config.Msg.GetDataDir()
	}
	if dir == "" {
		return stack.DefaultDataDir(c.config.Msg.GetUserDataHome())
	}
	return filepath.Abs(dir)
}

// progress prints one step of a start.
func (c *cli) progress(line string) {
	fmt.Fprintln(c.err, terminal.Style(c.screen().color).Dim("· "+terminal.Clean(line)))
}

func (c *cli) announce(info stack.Info) {
	fmt.Fprintf(c.out, "Poco is ready: %s (backend %s, runtime %s, data in %s)\n", info.URL, info.BackendURL, info.Runtime, info.DataDir)
	fmt.Fprintf(c.out, "Open the page with this link, which is for you only: %s\n", info.SignInURL)
	if info.Runtime == "process" {
		fmt.Fprintln(c.err, "note: the process runtime isolates nothing: agents run with your rights on this machine")
	}
	switch {
	case info.Scripted:
		fmt.Fprintln(c.err, "note: the scripted model stands in for a real one: it plays written scenarios and thinks nothing")
	case !info.ModelToken:
		fmt.Fprintln(c.err, "note: neither ANTHROPIC_AUTH_TOKEN nor ANTHROPIC_API_KEY is set, so every run will fail at the model: set one, or use --scripted-model")
	}
	hint := ""
	if u, err := url.Parse(info.BackendURL); err == nil && u.Port() != "8000" {
		hint = " --backend " + info.BackendURL
	}
	if c.data != "" {
		hint += " --data-dir " + info.DataDir
	}
	fmt.Fprintf(c.err, "Send work with: poco run%s \"your prompt\"\n", hint)
}
