package command

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/agents"
	"github.com/poco-ai/poco/services/poco/internal/client"
	"github.com/poco-ai/poco/services/poco/internal/conversation"
	"github.com/poco-ai/poco/services/poco/internal/terminal"
)

// maxPromptBytes is the backend's own limit; reading stops just above it so
// that the backend's answer is the one that is seen.
const maxPromptBytes = 1 << 20

// runFlags are the flags of "poco run".
type runFlags struct {
	session, project, agent, model, repo string
	requestID                            string
	timeout                              time.Duration
	json, detach, waitExport             bool
	// firstOption answers questions that nobody answers, see
	// conversation.Follower.
	firstOption time.Duration
	// embedded means that the backend is part of this program and ends with it.
	embedded bool
}

func (c *cli) runCommand() *cobra.Command {
	var flags runFlags
	cmd := &cobra.Command{
		Use:   "run PROMPT",
		Short: "Send a prompt and show the run live",
		Long: `Send a prompt and show the run live: text as it is written, tools with their
output, the to-do list, questions (answered here when this is a terminal), the
changed files and the cost.

Ctrl-C cancels the run and waits until it has ended; a second Ctrl-C leaves at
once. Any other end of this command, by SIGTERM, with its terminal or for want
of a reader, leaves the run going on: come back with "poco attach". Where it ends
before the backend has answered, it says so, and --request-id sends the prompt
again without starting it twice. With "-" the prompt is read from standard input.
` + exitHelp,
		Example: `  poco run "write a haiku about queues to haiku.txt"
  poco run --session 6f9c… "now in German"
  git diff | poco run -
  poco run --json "list the files" | jq .payload
  poco run --detach "a long task"`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			prompt, err := c.prompt(args)
			if err != nil {
				return err
			}
			return c.run(cmd.Context(), c.client(), prompt, flags)
		},
	}
	set := cmd.Flags()
	set.StringVar(&flags.session, "session", "", "go on with this session's conversation")
	set.StringVar(&flags.project, "project", "", "put a new session into this project")
	set.StringVar(&flags.agent, "agent", "", "the agent: "+agents.List()+" (default: the session's, or "+agents.Claude+")")
	set.StringVar(&flags.model, "model", "", "the model (default: the manager's DEFAULT_MODEL)")
	set.StringVar(&flags.repo, "repo", "", "http(s) URL of a Git repository to clone into a new workspace")
	set.DurationVar(&flags.timeout, "timeout", 0, "the longest the run may take, for example 10m")
	set.StringVar(&flags.requestID, "request-id", "", "name of this request: the same prompt with the same name starts one run, however often it is sent")
	set.BoolVar(&flags.json, "json", false, "print one event per line as JSON")
	set.BoolVar(&flags.detach, "detach", false, "print the ids and do not follow")
	set.BoolVar(&flags.waitExport, "wait-export", false, "also wait until the workspace is exported")
	return cmd
}

func (c *cli) prompt(args []string) (string, error) {
	prompt := strings.Join(args, " ")
	if prompt == "-" {
		text, err := io.ReadAll(io.LimitReader(c.in, maxPromptBytes+1))
		if err != nil {
			return "", usageError("read the prompt from standard input: %w", err)
		}
		prompt = string(text)
	}
	if strings.TrimSpace(prompt) == "" {
		return "", usageError("the prompt is empty")
	}
	return prompt, nil
}

func (f *runFlags) config() *backendv1.TaskConfig {
	config := &backendv1.TaskConfig{}
	if f.agent != "" {
		config.Agent = proto.String(f.agent)
	}
	if f.model != "" {
		config.Model = proto.String(f.model)
	}
	if f.repo != "" {
		config.RepoUrl = proto.String(f.repo)
	}
	if f.timeout > 0 {
		config.Timeout = durationpb.New(f.timeout)
	}
	return config
}

func (c *cli) run(ctx context.Context, backend *client.Backend, prompt string, flags runFlags) error {
	var signals chan os.Signal
	if !flags.embedded { // there, signals end the context
		var stop func()
		signals, stop = endings()
		defer stop()
	}
	started, err := c.start(ctx, backend, &backendv1.EnqueueTaskRequest{
		Prompt: prompt, Config: flags.config(), SessionId: flags.session, ProjectId: flags.project,
		ClientRequestId: cmp.Or(flags.requestID, uuid.NewString()),
	}, signals)
	if err != nil {
		return err
	}
	task := started.task
	where := c.out
	switch {
	case flags.detach && flags.json:
		err = writeJSON(where, task)
	case flags.detach:
		_, err = fmt.Fprintf(where, "session %s\nrun     %s\nFollow it with: poco attach %s\n", task.GetSessionId(), task.GetRunId(), task.GetSessionId())
	default:
		if flags.json {
			where = c.err
		}
		_, err = fmt.Fprintln(where, terminal.Style(c.screen().color && !flags.json).Dim("session "+task.GetSessionId()))
	}
	switch {
	case err != nil:
		return &exitError{exitDetached, fmt.Errorf("%w: %w; the run goes on, come back with: poco attach %s", conversation.ErrOutput, err, task.GetSessionId())}
	case flags.detach:
		return nil
	}
	return c.follow(ctx, &conversation.Follower{
		Backend: backend, Watch: client.Watch{SessionID: task.GetSessionId(), AfterSeq: started.afterSeq},
		RunID: task.GetRunId(), CancelOnInterrupt: true, WaitForExport: flags.waitExport,
		FirstOptionAfter: flags.firstOption, Signals: signals,
	}, flags.json, false)
}
