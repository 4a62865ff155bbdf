package command

import (
	"context"
	"fmt"
	"io"
	"strings"

	"connectrpc.com/connect/v2"
	"github.com/spf13/cobra"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/rpcerror"
	"github.com/poco-ai/poco/services/poco/internal/client"
	"github.com/poco-ai/poco/services/poco/internal/terminal"
)

// pathKind is what is not found when a run has not changed a path.
const pathKind = "changed file"

func (c *cli) diffCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "diff RUN|SESSION [PATH]",
		Short: "Show what a run changed, or the last run of a session",
		Long: `Show what a run changed, or the last run of a session, as a unified diff.

What is not in the diff (binary files, what was too large to be recorded) is
named on standard error.`,
		Example: `  poco diff 6f9c…
  poco diff 6f9c… src/main.go
  poco diff 6f9c… | git apply`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			backend := c.client()
			request := &backendv1.ListFileChangesRequest{RunId: args[0]}
			if len(args) > 1 {
				request.Path = args[1]
			}
			first, err := firstChanges(cmd.Context(), backend, request)
			if connect.CodeOf(err) == connect.CodeNotFound {
				if rpcerror.Metadata(err)["kind"] == pathKind {
					return usageError("the run has not changed %s", request.GetPath())
				}
				return usageError("there is no run and no session %s", args[0])
			}
			for page := first; err == nil; page, err = backend.Runs.ListFileChanges(cmd.Context(), request) {
				for _, file := range page.GetFiles() {
					if err := c.writeChange(file, asJSON); err != nil {
						return err
					}
				}
				if request.PageToken = page.GetNextPageToken(); request.GetPageToken() != "" {
					continue
				}
				if page.GetTruncated() {
					fmt.Fprintln(c.err, "more files were changed than were recorded")
				}
				return nil
			}
			return c.refused(backend, err)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one changed file per line as JSON")
	return cmd
}

// firstChanges asks for the changes of a run, or of the last run of a session by
// that id, and leaves the run's id in the request.
func firstChanges(ctx context.Context, backend *client.Backend, request *backendv1.ListFileChangesRequest) (*backendv1.ListFileChangesResponse, error) {
	resp, err := backend.Runs.ListFileChanges(ctx, request)
	if connect.CodeOf(err) != connect.CodeNotFound || rpcerror.Metadata(err)["kind"] == pathKind {
		return resp, err
	}
	found, err := backend.Sessions.GetSession(ctx, &backendv1.GetSessionRequest{SessionId: request.GetRunId()})
	if err != nil {
		return nil, err
	}
	if found.GetSession().GetLatestRunId() == "" {
		return &backendv1.ListFileChangesResponse{}, nil // nothing was asked of it yet
	}
	request.RunId = found.GetSession().GetLatestRunId()
	return backend.Runs.ListFileChanges(ctx, request)
}

func (c *cli) writeChange(file *backendv1.FileChange, asJSON bool) error {
	if asJSON {
		return writeJSON(c.out, file)
	}
	name := terminal.Line(file.GetPath(), 200)
	switch {
	case file.GetBinary():
		fmt.Fprintf(c.err, "%s is a binary file\n", name)
	case file.GetDiffTruncated():
		fmt.Fprintf(c.err, "%s has changed more than was recorded: +%d −%d\n", name, file.GetAdditions(), file.GetDeletions())
	}
	diff := file.GetDiff()
	if diff == "" {
		return nil
	}
	if c.screen().terminal { // elsewhere it is a patch, to the byte
		diff = terminal.Clean(diff)
	}
	if !strings.HasSuffix(diff, "\n") {
		diff += "\n"
	}
	_, err := io.WriteString(c.out, diff)
	return err
}
