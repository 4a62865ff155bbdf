package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/agents"
	"github.com/poco-ai/poco/services/internal/testkit"
)

// TestOtherAgents has each other agent work on a task, through everything there is: it
// reaches its model with its run's own token alone, and has a conversation of its own.
func TestOtherAgents(t *testing.T) {
	for _, name := range agents.Names() {
		if name == agents.Claude {
			continue
		}
		t.Run(name, func(t *testing.T) {
			dir := os.Getenv(agents.DirSetting)
			if _, err := agents.Find(name, dir); err != nil {
				testkit.Missing(t, "needs the agent: %v", err)
			}
			s := newStack(t, stackOptions{})
			s.manager.env[agents.DirSetting] = dir
			s.manager.env["OPENAI_BASE_URL"], s.manager.env["OPENAI_API_KEY"] = s.model.URL+"/v1", modelToken
			s.manager.env["OPENAI_AGENT_MODEL"] = "gpt-5"
			s.start()
			ask := func(prompt, session string, config *backendv1.TaskConfig) (string, string) {
				resp, err := s.tasks.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{Prompt: prompt, SessionId: session, Config: config})
				require.NoError(t, err)
				return resp.GetSessionId(), resp.GetRunId()
			}
			completed := func(f *follower, run string) {
				t.Helper()
				end := f.awaitEnd(run)
				require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, end.GetStatus(), end.GetMessage())
			}
			session, run := ask("Begin. [[bash:env > env.txt; cat env.txt]]", "", &backendv1.TaskConfig{Agent: &name})
			f := s.follow(session)
			started := f.await("its start", func(e *backendv1.SessionEvent) bool { return e.GetPayload().GetAgentStarted() != nil }).GetPayload().GetAgentStarted()
			require.Equal(t, name, started.GetAgent())
			require.Equal(t, "gpt-5", started.GetModel())
			completed(f, run)
			seen, err := os.ReadFile(filepath.Join(s.workspace(s.manager, session), "env.txt"))
			require.NoError(t, err)
			require.NotContains(t, string(seen), modelToken, "the real credential")
			require.Equal(t, []string{modelToken}, s.model.Stats().Tokens, "the gateway shows the real one")

			_, run = ask("[[memory]]", session, nil)
			completed(f, run)
			f.awaitText(`This is prompt number 2.`)
			claude := agents.Claude
			_, run = ask("[[memory]]", session, &backendv1.TaskConfig{Agent: &claude})
			completed(f, run)
			f.awaitText(`The first thing you said was: "[[memory]]". This is prompt number 1.`)
			_, run = ask("[[memory]]", session, &backendv1.TaskConfig{Agent: &name})
			completed(f, run)
			f.awaitText(`This is prompt number 3.`)
			f.requireExactlyOnce()
		})
	}
}
