package app_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/claudecode"
	"github.com/poco-ai/poco/services/internal/dockerengine"
	"github.com/poco-ai/poco/services/internal/scriptedmodel"
	"github.com/poco-ai/poco/services/internal/testkit"
)

// TestARunOfTheRealAgent has nothing scripted but the model.
func TestARunOfTheRealAgent(t *testing.T) {
	cli, err := claudecode.Find(os.Getenv(claudecode.PathSetting), "")
	if err != nil {
		testkit.Missing(t, "needs the Claude Code CLI: %v", err)
	}
	executor := filepath.Join(t.TempDir(), "poco-executor")
	output, err := exec.Command("go", "build", "-o", executor, "github.com/poco-ai/poco/services/executor").CombinedOutput()
	require.NoError(t, err, "build the executor: %s", output)
	s := newStack(t)
	s.env["EXECUTOR_COMMAND"], s.env["CLAUDE_CLI_PATH"] = executor, cli
	s.manage = func() service { return s.manager(true) }
	runTheRealAgent(t, s)
}

// executorImageVariable names an image of the real executor.
const executorImageVariable = "POCO_TEST_EXECUTOR_IMAGE"

// TestARunOfTheRealAgentInAContainer is the same through the docker runtime.
func TestARunOfTheRealAgentInAContainer(t *testing.T) {
	image := os.Getenv(executorImageVariable)
	if image == "" {
		testkit.Missing(t, "needs the executor image: build it with .ci/executor-image and set %s", executorImageVariable)
	}
	engine, err := dockerengine.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, engine.Close()) })
	if err := dockerengine.Check(t.Context(), engine, image); err != nil {
		testkit.Missing(t, "needs a Docker engine with the executor image: %v", err)
	}
	bridge, err := dockerengine.BridgeAddress(t.Context(), engine)
	require.NoError(t, err)

	s := newStack(t)
	s.env["EXECUTOR_RUNTIME"], s.env["EXECUTOR_IMAGE"] = "docker", image
	s.manage = func() service {
		l, err := net.Listen("tcp", net.JoinHostPort(bridge.String(), "0"))
		require.NoError(t, err)
		_, port, err := net.SplitHostPort(l.Addr().String())
		require.NoError(t, err)
		return s.managerOn(l, "http://host.docker.internal:"+port, true)
	}
	runTheRealAgent(t, s)
}

func runTheRealAgent(t *testing.T, s *stack) {
	model, err := scriptedmodel.Start(t.Context(), "127.0.0.1:0", scriptedmodel.Options{Token: modelToken})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, model.Close()) })
	s.env["ANTHROPIC_BASE_URL"] = model.URL
	s.manage()
	session, _ := s.enqueue("Please do it. [[bash]]")
	end := s.await(session, ended).GetRunStatusChanged()
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, end.GetStatus(), end.GetMessage())
	export := s.await(session, exported).GetExportChanged()
	require.Equal(t, backendv1.ExportStatus_EXPORT_STATUS_READY, export.GetStatus(), export.GetReason())
	require.Equal(t, "hi\n", s.object("workspaces/default/"+session+"/files/out.txt"))
	require.Empty(t, model.Stats().Invalid)
	require.Zero(t, model.Stats().Unauthorized, "the gateway shows the real token")
	require.Len(t, model.Stats().Tokens, 1)

	// The workspace and the conversation are still there.
	resp, err := s.tasks.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{Prompt: "And now? [[write]]", SessionId: session})
	require.NoError(t, err)
	started := s.await(session, func(p *backendv1.EventPayload) bool { return p.GetAgentStarted().GetResumed() })
	require.NotEmpty(t, started.GetAgentStarted().GetAgentSessionId())
	s.awaitRun(session, resp.GetRunId())
}
