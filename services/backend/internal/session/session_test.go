package session_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/backend/internal/backendtest"
	"github.com/poco-ai/poco/services/backend/internal/page"
	"github.com/poco-ai/poco/services/backend/internal/session"
	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/rpcerror"
	"github.com/poco-ai/poco/services/internal/testkit"
)

const completed = backendv1.RunStatus_RUN_STATUS_COMPLETED

func TestListIsStableUnderInserts(t *testing.T) {
	b := backendtest.New(t)
	var want []string
	for i := range 7 {
		want = append([]string{b.Enqueue(t, "", fmt.Sprint(i)).GetSessionId()}, want...)
	}
	var got []string
	token := ""
	for {
		resp, err := b.Sessions.ListSessions(t.Context(), &backendv1.ListSessionsRequest{PageSize: 3, PageToken: token})
		require.NoError(t, err)
		for _, s := range resp.GetSessions() {
			got = append(got, s.GetId())
		}
		if token = resp.GetNextPageToken(); token == "" {
			break
		}
		b.Enqueue(t, "", "came in between")
		_, err = b.Sessions.ListSessions(auth.WithUser(t.Context(), "someone-else"), &backendv1.ListSessionsRequest{PageSize: 3, PageToken: token})
		require.Equal(t, backendv1.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, rpcerror.Reason(err), "a token is for one user's list")
	}
	require.Equal(t, want, got)
}

// An update changes what its mask names, and answers with the session as it is
// then.
func TestUpdateChangesWhatIsNamed(t *testing.T) {
	b := backendtest.New(t)
	project := uuid.NewString()
	_, err := b.Pool.Exec(t.Context(), `INSERT INTO projects (id, user_id, name) VALUES ($1, $2, 'p')`, project, backendtest.User)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		request                *backendv1.UpdateSessionRequest
		wantTitle, wantProject string
	}{
		"no mask":                   {&backendv1.UpdateSessionRequest{Title: new("new")}, "new", project},
		"no mask, emptied":          {&backendv1.UpdateSessionRequest{ProjectId: new("")}, "old", ""},
		"named and set":             {&backendv1.UpdateSessionRequest{Title: new("new"), UpdateMask: mask("title")}, "new", project},
		"named and not set":         {&backendv1.UpdateSessionRequest{UpdateMask: mask("title")}, "", project},
		"set and not named":         {&backendv1.UpdateSessionRequest{Title: new("new"), UpdateMask: mask("project_id")}, "old", ""},
		"everything":                {&backendv1.UpdateSessionRequest{Title: new("new"), UpdateMask: mask("*")}, "new", ""},
		"everything that is set":    {&backendv1.UpdateSessionRequest{Title: new("new"), ProjectId: &project, UpdateMask: mask("*")}, "new", project},
		"nothing is set, and asked": {&backendv1.UpdateSessionRequest{}, "old", project},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := b.Sessions.CreateSession(t.Context(), &backendv1.CreateSessionRequest{Title: "old", ProjectId: project})
			require.NoError(t, err)
			c.request.SessionId = s.GetSession().GetId()
			updated, err := b.Sessions.UpdateSession(t.Context(), c.request)
			require.NoError(t, err)
			require.Equal(t, c.wantTitle, updated.GetSession().GetTitle())
			require.Equal(t, c.wantProject, updated.GetSession().GetProjectId())
		})
	}
}

func mask(paths ...string) *fieldmaskpb.FieldMask { return &fieldmaskpb.FieldMask{Paths: paths} }

func TestMessagePagesAreBoundedByBytes(t *testing.T) {
	b := backendtest.New(t)
	c := b.Start(t, "w1")
	for i := range int64(5) {
		b.Append(t, c, backendtest.Text(i+1, strings.Repeat("x", 900<<10)))
	}
	pages, n, token := 0, 0, ""
	for {
		resp, err := b.Sessions.ListMessages(t.Context(), &backendv1.ListMessagesRequest{
			SessionId: c.GetRun().GetSessionId(), PageToken: token,
		})
		require.NoError(t, err)
		size := 0
		for _, m := range resp.GetMessages() {
			size += len(m.GetBlocks()[0].GetText().GetText())
		}
		require.LessOrEqual(t, size, page.MaxBytes)
		pages, n = pages+1, n+len(resp.GetMessages())
		if token = resp.GetNextPageToken(); token == "" {
			break
		}
	}
	require.Equal(t, 6, n, "the prompt and five answers")
	require.Greater(t, pages, 2)
}

func TestCancelAndDelete(t *testing.T) {
	b := backendtest.New(t)
	c := b.Start(t, "w1")
	id := c.GetRun().GetSessionId()
	queued := b.Enqueue(t, id, "next")
	all := &backendv1.CancelSessionRequest{SessionId: id, Reason: "enough"}
	resp, err := b.Sessions.CancelSession(t.Context(), all)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{queued.GetRunId(), c.GetRun().GetId()}, resp.GetCanceledRunIds())
	require.Zero(t, resp.GetSession().GetQueuedRuns())
	require.Equal(t, c.GetRun().GetId(), resp.GetSession().GetActiveRunId(), "until its agent has stopped")
	resp, err = b.Sessions.CancelSession(t.Context(), all)
	require.NoError(t, err)
	require.Empty(t, resp.GetCanceledRunIds())

	b.Enqueue(t, id, "and again")
	b.Delete(t, id)
	_, err = b.Sessions.DeleteSession(t.Context(), &backendv1.DeleteSessionRequest{SessionId: id})
	require.Equal(t, backendv1.ErrorReason_ERROR_REASON_NOT_FOUND, rpcerror.Reason(err))
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_CANCELED, b.Append(t, c, backendtest.Finished(1, completed)).Status)
	other := b.Enqueue(t, "", "of another session")
	require.Equal(t, other.GetRunId(), b.Claim(t, "w1").GetRun().GetId(), "a deleted session does not block the queue")
}

func TestExport(t *testing.T) {
	b := backendtest.New(t)
	objects := testkit.ObjectStore(t)
	workspaces := session.New(b.Store, page.NewTokens(config.NewSecret("test")), objects, b.Bus, b.Feeds)
	c := b.Start(t, "w1")
	id, runID := c.GetRun().GetSessionId(), c.GetRun().GetId()
	b.Append(t, c, backendtest.Finished(1, completed))
	exports, err := b.Queue.PendingExports(t.Context(), "w1")
	require.NoError(t, err)
	require.Len(t, exports, 1)
	require.Equal(t, runID, exports[0].GetRunId())
	_, err = b.Sessions.RetryExport(t.Context(), &backendv1.RetryExportRequest{SessionId: id})
	require.Equal(t, backendv1.ErrorReason_ERROR_REASON_EXPORT_PENDING, rpcerror.Reason(err))

	report := func(change func(*queuev1.ReportExportRequest)) (bool, error) {
		t.Helper()
		prefix := "workspaces/default/" + id + "/"
		r := &queuev1.ReportExportRequest{
			WorkerId: "w1", SessionId: id, RunId: runID, Status: backendv1.ExportStatus_EXPORT_STATUS_READY,
			ManifestKey: prefix + "manifest.json", ArchiveKey: prefix + "archive.zip", FilesPrefix: prefix + "files/", FileCount: 1,
		}
		change(r)
		resp, err := b.Queue.ReportExport(t.Context(), r)
		return resp.GetAccepted(), err
	}
	accepted, err := report(func(r *queuev1.ReportExportRequest) { r.RunId = uuid.NewString() })
	require.NoError(t, err)
	require.False(t, accepted, "an export that was superseded")
	_, err = report(func(r *queuev1.ReportExportRequest) { r.ArchiveKey = "workspaces/other/" + id + "/archive.zip" })
	require.Equal(t, backendv1.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, rpcerror.Reason(err))

	key := "workspaces/default/" + id + "/files/dir/a.txt"
	manifest, err := json.Marshal(map[string]any{"version": 1, "files": []map[string]any{
		{"path": "dir/a.txt", "key": key, "size": 5, "mimeType": "text/plain", "last_modified": "2026-01-01T00:00:00Z"},
		{"path": "../escape", "key": key},
		{"path": "theirs", "key": "workspaces/other/x/files/a"},
	}})
	require.NoError(t, err)
	require.NoError(t, objects.Put(t.Context(), "workspaces/default/"+id+"/manifest.json", "application/json", strings.NewReader(string(manifest)), int64(len(manifest))))
	require.NoError(t, objects.Put(t.Context(), key, "text/plain", strings.NewReader("hello"), 5))
	accepted, err = report(func(*queuev1.ReportExportRequest) {})
	require.NoError(t, err)
	require.True(t, accepted)

	files, err := workspaces.ListWorkspaceFiles(t.Context(), &backendv1.ListWorkspaceFilesRequest{SessionId: id})
	require.NoError(t, err)
	require.Len(t, files.GetFiles(), 1)
	resp, err := http.Get(files.GetFiles()[0].GetUrl())
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, "hello", string(body))
	archive, err := workspaces.GetWorkspaceArchive(t.Context(), &backendv1.GetWorkspaceArchiveRequest{SessionId: id})
	require.NoError(t, err)
	require.Equal(t, "workspace-"+id+".zip", archive.GetFilename())

	s, err := b.Sessions.RetryExport(t.Context(), &backendv1.RetryExportRequest{SessionId: id})
	require.NoError(t, err)
	require.Equal(t, backendv1.ExportStatus_EXPORT_STATUS_PENDING, s.GetSession().GetExport().GetStatus())
	commands := b.Commands(t, "w1")
	require.NotNil(t, commands[0].GetExport())
}
