package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

// TestInputsFromTheWeb: a file that is named by its URL is there when the agent
// starts, and the run ends with the reason when it cannot be.
func TestInputsFromTheWeb(t *testing.T) {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/data.csv" {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, "a,b")
	}))
	t.Cleanup(site.Close)
	s := newStack(t, stackOptions{})
	run := func(source string) (session string, end *backendv1.RunStatusChanged) {
		t.Helper()
		answer, err := s.tasks.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{
			Prompt: "[[bash:cat inputs/data.csv >seen.txt]]",
			Config: &backendv1.TaskConfig{InputFiles: []*backendv1.InputFile{{Source: &backendv1.InputFile_Url{Url: source}}}},
		})
		require.NoError(t, err)
		return answer.GetSessionId(), s.follow(answer.GetSessionId()).awaitEnd(answer.GetRunId())
	}
	s.manager.env["INPUT_PRIVATE_HOSTS"] = "127.0.0.1"
	s.start()
	session, end := run(site.URL + "/data.csv")
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, end.GetStatus(), end.GetMessage())
	seen, err := os.ReadFile(filepath.Join(s.workspace(s.manager, session), "seen.txt"))
	require.NoError(t, err)
	require.Equal(t, "a,b", string(seen))

	_, end = run(site.URL + "/nothing")
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_FAILED, end.GetStatus())
	require.Equal(t, backendv1.RunReason_RUN_REASON_WORKSPACE_ERROR, end.GetReason())
	require.Contains(t, end.GetMessage(), site.URL+"/nothing answers 404 Not Found")

	_, end = run("http://localhost" + site.URL[len("http://127.0.0.1"):] + "/data.csv")
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_FAILED, end.GetStatus())
	require.Contains(t, end.GetMessage(), "INPUT_PRIVATE_HOSTS")
}
