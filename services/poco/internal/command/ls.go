package command

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/poco/internal/terminal"
)

// titleWidth is how much of a title the table shows.
const titleWidth = 50

func (c *cli) lsCommand() *cobra.Command {
	var asJSON bool
	var limit int32
	var project string
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List sessions, newest first",
		Example: `  poco ls
  poco ls --limit 500 --json | jq -r .id`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			backend := c.client()
			var sessions []*backendv1.Session
			// The table has what sessions cost, which is a part of their state.
			request := &backendv1.ListSessionsRequest{ProjectId: project, View: backendv1.SessionView_SESSION_VIEW_FULL}
			for {
				request.PageSize = limit - int32(len(sessions))
				page, err := backend.Sessions.ListSessions(cmd.Context(), request)
				if err != nil {
					return c.refused(backend, err)
				}
				sessions = append(sessions, page.GetSessions()...)
				request.PageToken = page.GetNextPageToken()
				if request.GetPageToken() == "" || len(sessions) >= int(limit) {
					break
				}
			}
			if !asJSON {
				return c.sessionTable(sessions)
			}
			for _, session := range sessions {
				if err := writeJSON(c.out, session); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one session per line as JSON")
	cmd.Flags().Int32Var(&limit, "limit", 50, "the most sessions to list")
	cmd.Flags().StringVar(&project, "project", "", "only this project's sessions")
	return cmd
}

func (c *cli) sessionTable(sessions []*backendv1.Session) error {
	if len(sessions) == 0 {
		fmt.Fprintln(c.out, `No sessions yet. Start one with: poco run "your prompt"`)
		return nil
	}
	table := &terminal.Table{Head: []string{"SESSION", "STATUS", "UPDATED", "COST", "TITLE"}, Flexible: []bool{false, false, false, false, true}}
	for _, session := range sessions {
		status := word(session.GetStatus().String(), "SESSION_STATUS_")
		if session.GetQueuedRuns() > 0 {
			status += fmt.Sprintf(" +%d queued", session.GetQueuedRuns())
		}
		table.Add(terminal.Cell{Text: session.GetId()}, terminal.Cell{Text: status}, terminal.Cell{Text: ago(time.Since(session.GetUpdatedAt().AsTime()))},
			terminal.Cell{Text: fmt.Sprintf("$%.4f", session.GetState().GetUsage().GetTotalCostUsd())},
			terminal.Cell{Text: terminal.Line(session.GetTitle(), titleWidth)})
	}
	return table.Write(c.out, 0, terminal.Style(c.screen().color))
}

// word turns an enum's name into a word for people.
func word(name, prefix string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, prefix)), "_", " ")
}

// ago says how long something is past, in one unit.
func ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", max(int(d.Seconds()), 0))
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd ago", int(d.Hours()/24))
	}
}
