package e2e

import (
	"encoding/json"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/testkit"
)

// TestBufCurl talks to the running system as a person with buf does: by
// reflection, over each protocol.
func TestBufCurl(t *testing.T) {
	buf, err := exec.LookPath("buf")
	if err != nil {
		testkit.Missing(t, "needs buf on PATH, where .ci/test puts it: PATH=\"$(.ci/tool-dir buf):$PATH\"")
	}
	cli, _ := newFakeCLI(t, cliCompletes)
	s := newStack(t, stackOptions{cli: cli}).start()
	curl := func(t *testing.T, protocol, url, method, body string) []byte {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), buf, "curl", "--http2-prior-knowledge", "--protocol", protocol, "-d", body, url+"/"+method).CombinedOutput()
		require.NoError(t, err, "%s", out)
		return out
	}
	for _, protocol := range []string{"connect", "grpc", "grpcweb"} {
		t.Run(protocol, func(t *testing.T) {
			var task struct{ SessionID, RunID, Status string }
			require.NoError(t, json.Unmarshal(curl(t, protocol, s.backend.url(), "poco.backend.v1.TaskService/EnqueueTask", `{"prompt": "hello"}`), &task))
			require.Equal(t, "RUN_STATUS_QUEUED", task.Status)

			list := string(curl(t, protocol, s.backend.url(), "poco.backend.v1.SessionService/ListSessions", `{}`))
			require.Contains(t, list, task.SessionID)

			watched := string(curl(t, protocol, s.backend.url(), "poco.backend.v1.SessionService/WatchSession",
				`{"session_id": "`+task.SessionID+`", "stop_when_idle": true}`))
			for _, part := range []string{"RUN_STATUS_COMPLETED", "EXPORT_STATUS_READY", "caughtUp", `"text": "fine"`} {
				require.Contains(t, watched, part)
			}
		})
	}
}

// TestEveryServiceAnswers asks every service, the executor included, for
// reflection, health and its plain endpoints.
func TestEveryServiceAnswers(t *testing.T) {
	buf, err := exec.LookPath("buf")
	if err != nil {
		testkit.Missing(t, "needs buf on PATH, where .ci/test puts it: PATH=\"$(.ci/tool-dir buf):$PATH\"")
	}
	s := newStack(t, stackOptions{}).start()
	frontend := newProgram(t, "frontend", map[string]string{"FRONTEND_HOST": "127.0.0.1", "BACKEND_URL": s.backend.url()})
	frontend.env["FRONTEND_PORT"] = strconv.Itoa(frontend.port)
	frontend.start()
	executor := newProgram(t, "executor", map[string]string{
		"EXECUTOR_HOST": "127.0.0.1", "EXECUTOR_TOKEN": "token-of-this-executor", "DEFAULT_MODEL": "none", "WORKSPACE_PATH": t.TempDir(),
	})
	executor.env["EXECUTOR_PORT"] = strconv.Itoa(executor.port)
	executor.start()

	for _, c := range []struct {
		program *program
		service string
	}{
		{s.backend, "poco.queue.v1.RunQueueService"},
		{s.manager, "poco.manager.v1.RunChannelService"},
		{executor, "poco.executor.v1.ExecutorService"},
		{frontend, "poco.config.v1.ConfigService"},
	} {
		t.Run(c.program.name, func(t *testing.T) {
			out, err := exec.CommandContext(t.Context(), buf, "curl", "--http2-prior-knowledge", "--protocol", "grpc", "--list-services", c.program.url()).CombinedOutput()
			require.NoError(t, err, "%s", out)
			for _, service := range []string{c.service, "grpc.health.v1.Health", "poco.config.v1.ConfigService"} {
				require.Contains(t, strings.Fields(string(out)), service)
			}
			for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
				request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.program.url()+path, nil)
				require.NoError(t, err)
				response, err := http.DefaultClient.Do(request)
				require.NoError(t, err)
				require.NoError(t, response.Body.Close())
				require.Equal(t, http.StatusOK, response.StatusCode, path)
			}
		})
	}
}
