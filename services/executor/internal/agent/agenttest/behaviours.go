package agenttest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/executor/internal/agent"
	"github.com/poco-ai/poco/services/executor/internal/process"
	"github.com/poco-ai/poco/services/internal/scriptedmodel"
)

// scenarios are played besides the built-in ones.
var scenarios = []scriptedmodel.Scenario{
	{Name: "remember", Turns: []scriptedmodel.Turn{
		{Blocks: []scriptedmodel.Block{{Tool: &scriptedmodel.Tool{Name: "mcp__notes__remember", Input: map[string]any{"what": "milk"}}}}},
		{Blocks: []scriptedmodel.Block{{Text: "The note says: {output}"}}},
	}},
}

var behaviours = []behaviour{
	{name: "text", test: func(f *fixture) {
		r := f.run("hello there")
		r.requireEnd(completed, 0)
		started := r.started()
		require.Equal(f.t, f.driver.Name(), started.GetAgent())
		require.NotEmpty(f.t, started.GetAgentSessionId())
		require.NotEmpty(f.t, started.GetAgentVersion())
		require.False(f.t, started.GetResumed())
		require.Contains(f.t, r.said(), `You asked: "hello there"`)
		require.Contains(f.t, r.partial.String(), "You asked")
		require.Contains(f.t, f.model.Stats().Models, f.subject.Model)
		require.Equal(f.t, []string{token}, f.model.Stats().Tokens)
	}},
	{name: "thinking", test: func(f *fixture) {
		r := f.run("[[think]]")
		r.requireEnd(completed, 0)
		require.Contains(f.t, r.said(), "Answer.")
	}},
	{name: "tool use", test: func(f *fixture) {
		r := f.run("[[bash:echo hi > out.txt && cat out.txt]]")
		r.requireEnd(completed, 0)
		require.Equal(f.t, "hi\n", f.file("out.txt"))
		require.NotEmpty(f.t, r.calls())
		require.Contains(f.t, r.results(), "hi")
		require.Contains(f.t, r.said(), "The command printed:")
		require.Positive(f.t, r.changes, "somebody looks what changed")
	}},
	{name: "a tool that fails", test: func(f *fixture) {
		r := f.run("[[fail]]")
		r.requireEnd(completed, 0)
		require.Contains(f.t, r.results(), "broken")
	}},
	{name: "nobody is asked for permission", test: func(f *fixture) {
		r := f.run("[[write]]")
		r.requireEnd(completed, 0)
		require.Equal(f.t, "line1\nline two\n", f.file("a.txt"), r.log())
		require.False(f.t, r.has(func(p *executorv1.RunEventPayload) bool { return p.GetUserInputRequested() != nil }))
	}},
	{name: "a mode of permissions that it does not have is refused", needs: func(c agent.Capabilities) bool { return !c.Plans }, test: func(f *fixture) {
		f.task.PermissionMode = backendv1.PermissionMode_PERMISSION_MODE_PLAN
		require.Error(f.t, f.driver.Capabilities().Check(f.task))
	}},
	{name: "question", needs: func(c agent.Capabilities) bool { return c.Questions }, test: func(f *fixture) {
		r := f.start("[[ask]]")
		asked := r.asked()
		require.Equal(f.t, "Which color?", asked.GetQuestions()[0].GetQuestion())
		require.Len(f.t, asked.GetQuestions()[0].GetOptions(), 2)
		r.choose(asked, "Blue")
		r.requireEnd(completed, 0)
		require.Contains(f.t, r.said(), "You chose: Blue")
	}},
	{name: "a question that nobody answers", needs: func(c agent.Capabilities) bool { return c.Questions }, test: func(f *fixture) {
		f.task.UserInputTimeout = time.Second
		r := f.run("[[ask]]")
		r.requireEnd(completed, 0)
		require.Contains(f.t, r.said(), "You chose: nothing")
	}},
	{name: "plan", needs: func(c agent.Capabilities) bool { return c.Plans }, test: func(f *fixture) {
		f.task.PermissionMode = backendv1.PermissionMode_PERMISSION_MODE_PLAN
		r := f.start("[[plans]]")
		asked := r.asked()
		require.NoFileExists(f.t, filepath.Join(f.task.Dir, "early.txt"))
		r.choose(asked, "Approve")
		r.requireEnd(completed, 0)
		require.Equal(f.t, "done\n", f.file("done.txt"))
	}},
	{name: "to-do list", needs: func(c agent.Capabilities) bool { return c.Todos }, test: func(f *fixture) {
		r := f.run("[[todo]]")
		r.requireEnd(completed, 0)
		require.True(f.t, r.has(func(p *executorv1.RunEventPayload) bool { return len(p.GetTodosChanged().GetTodos()) == 1 }))
	}},
	{name: "cancel", test: func(f *fixture) {
		r := f.start("[[waitfile]]")
		f.awaitWaiting()
		r.agent.End(agent.Canceled("enough"))
		r.requireEnd(canceled, backendv1.RunReason_RUN_REASON_CANCELED)
		requireNothingLeft(f)
	}},
	{name: "cancel before it has begun", test: func(f *fixture) {
		r := f.start("[[waitfile]]")
		r.agent.End(agent.Canceled("enough"))
		r.requireEnd(canceled, backendv1.RunReason_RUN_REASON_CANCELED)
		requireNothingLeft(f)
	}},
	{name: "cancel while it waits for the model", test: func(f *fixture) {
		r := f.start("[[gate]]")
		select {
		case <-f.model.Arrived("gate"):
		case <-time.After(patience):
			f.t.Fatal("no call of the model")
		}
		r.agent.End(agent.Canceled("enough"))
		r.requireEnd(canceled, backendv1.RunReason_RUN_REASON_CANCELED)
	}},
	{name: "its executor stops", test: func(f *fixture) {
		ctx, cancel := context.WithCancelCause(context.Background())
		r := f.startIn(ctx, "[[waitfile]]")
		f.awaitWaiting()
		cancel(&agent.StopError{Outcome: agent.Failed(backendv1.RunReason_RUN_REASON_LEASE_LOST, "lost")})
		r.requireEnd(failed, backendv1.RunReason_RUN_REASON_LEASE_LOST)
		requireNothingLeft(f)
	}},
	{name: "it is held", test: func(f *fixture) {
		r := f.start("[[waitfile]]")
		f.awaitWaiting()
		r.agent.Hold()
		f.touch("go")
		require.Eventually(f.t, func() bool { // A stop takes effect at the next turn of each thread.
			for _, pid := range process.Descendants(os.Getpid()) {
				if strings.Trim(process.State(pid), "TtZ") != "" {
					return false
				}
			}
			return true
		}, patience, 10*time.Millisecond)
		r.agent.Release()
		r.requireEnd(completed, 0)
	}},
	{name: "resume", test: func(f *fixture) {
		first := f.run("the first words")
		first.requireEnd(completed, 0)
		conversation := first.started().GetAgentSessionId()
		took, err := f.driver.Took(f.task.StateDir, f.task.PromptID)
		require.NoError(f.t, err)
		require.Equal(f.t, conversation, took)
		require.True(f.t, f.driver.Whole(f.task.StateDir, conversation))
		f.task.ResumeID, f.task.PromptID = conversation, uuid.NewString()
		took, err = f.driver.Took(f.task.StateDir, f.task.PromptID)
		require.NoError(f.t, err)
		require.Empty(f.t, took, "of a prompt that it has not been given")
		second := f.run("[[memory]]")
		second.requireEnd(completed, 0)
		require.True(f.t, second.started().GetResumed())
		require.Contains(f.t, second.said(), `The first thing you said was: "the first words". This is prompt number 2.`)
		require.NotContains(f.t, second.said(), "You asked", "what was said before is not said again")
	}},
	{name: "resume what is not there", test: func(f *fixture) {
		f.task.ResumeID = uuid.NewString()
		f.run("[[memory]]").requireEnd(failed, backendv1.RunReason_RUN_REASON_RESUME_FAILED)
	}},
	{name: "goes on after its end in the middle", test: func(f *fixture) {
		ctx, cancel := context.WithCancel(context.Background())
		first := f.startIn(ctx, "[[waitfile]]")
		f.awaitWaiting()
		cancel()
		first.wait()
		conversation, err := f.driver.Took(f.task.StateDir, f.task.PromptID)
		require.NoError(f.t, err)
		require.Equal(f.t, first.started().GetAgentSessionId(), conversation)
		f.touch("go")
		f.task.ResumeID, f.task.Resumes = conversation, &agent.Resumption{PromptID: f.task.PromptID}
		f.task.PromptID = ""
		f.run(agent.ContinuePrompt).requireEnd(completed, 0)
	}},
	{name: "background work", needs: func(c agent.Capabilities) bool { return c.Background }, test: func(f *fixture) {
		r := f.run("[[background:sleep 1; echo built > built.txt]]")
		r.requireEnd(completed, 0)
		require.Equal(f.t, "built\n", f.file("built.txt"))
	}},
	{name: "nothing is left behind", test: func(f *fixture) {
		f.task.BackgroundTimeout = time.Second
		f.run("[[bash:setsid sleep 1000 > /dev/null 2>&1 & echo started]]").wait()
		requireNothingLeft(f)
	}},
	{name: "variables", test: func(f *fixture) {
		f.task.Environment = &executorv1.RunEnvironment{Variables: []*executorv1.EnvironmentVariable{
			{Name: "COLOR", Value: "dark blue"}, {Name: "HTTPS_PROXY", Value: "http://127.0.0.1:1"},
		}}
		r := f.run("[[bash:echo it is $COLOR]]")
		r.requireEnd(completed, 0)
		require.Contains(f.t, r.results(), "it is dark blue")
	}},
	{name: "MCP", test: func(f *fixture) {
		server := newNotes(f.t)
		f.task.Environment = &executorv1.RunEnvironment{McpServers: []*executorv1.McpServerConfig{{
			Name: "notes", Transport: &executorv1.McpServerConfig_Http{Http: &executorv1.McpHttp{Url: server.url}},
		}}}
		r := f.run("[[remember]]")
		r.requireEnd(completed, 0)
		require.Equal(f.t, "milk", server.remembered())
		require.Contains(f.t, r.said(), "The note says:")
		require.Contains(f.t, r.results(), "kept: milk")
	}},
	{name: "usage", test: func(f *fixture) {
		usage := f.run("[[bash:true]]").wait().Usage
		require.NotNil(f.t, usage)
		require.Positive(f.t, usage.GetInputTokens())
		require.Positive(f.t, usage.GetOutputTokens())
		require.Positive(f.t, usage.GetDuration().AsDuration())
		if f.driver.Capabilities().Cost {
			require.Positive(f.t, usage.GetTotalCostUsd())
		}
	}},
	{name: "limit of turns", needs: func(c agent.Capabilities) bool { return c.Turns }, test: func(f *fixture) {
		f.task.MaxTurns = 1
		f.run("[[todo]]").requireEnd(failed, backendv1.RunReason_RUN_REASON_MAX_TURNS)
	}},
	{name: "limit of cost", needs: func(c agent.Capabilities) bool { return c.Cost }, test: func(f *fixture) {
		f.task.MaxCostUSD = 1
		f.run("[[costly]]").requireEnd(failed, backendv1.RunReason_RUN_REASON_COST_LIMIT)
	}},
	{name: "limit of tokens", needs: func(c agent.Capabilities) bool { return c.Tokens }, test: func(f *fixture) {
		f.task.MaxTokens = 1000
		f.run("[[costly]]").requireEnd(failed, backendv1.RunReason_RUN_REASON_TOKEN_LIMIT)
	}},
	{name: "limits that it does not keep are refused", test: func(f *fixture) {
		f.task.MaxTurns, f.task.MaxCostUSD, f.task.MaxTokens = 1, 1, 1
		c := f.driver.Capabilities()
		if c.Turns && c.Cost && c.Tokens {
			require.NoError(f.t, c.Check(f.task))
		} else {
			require.Error(f.t, c.Check(f.task))
		}
	}},
	{name: "silence", test: func(f *fixture) {
		f.task.IdleTimeout = 3 * time.Second
		f.run("[[hang]]").requireEnd(failed, backendv1.RunReason_RUN_REASON_IDLE_TIMEOUT)
	}},
	{name: "a tool at work is no silence", test: func(f *fixture) {
		f.task.IdleTimeout = 3 * time.Second
		f.run("[[sleep:5]]").requireEnd(completed, 0)
	}},
	{name: "a credential that is refused", needs: func(c agent.Capabilities) bool { return c.Credential }, test: func(f *fixture) {
		f.run("[[error401]]").requireEnd(failed, backendv1.RunReason_RUN_REASON_AUTHENTICATION_FAILED)
	}},
	{name: "an error of the model", test: func(f *fixture) {
		r := f.run("[[error400]]")
		r.requireEnd(failed, backendv1.RunReason_RUN_REASON_AGENT_ERROR)
		require.Contains(f.t, r.outcome.Message, "the scripted model refuses this request")
	}},
	{name: "an overload passes", test: func(f *fixture) {
		r := f.run("[[overload529]]")
		r.requireEnd(completed, 0)
		require.Contains(f.t, r.said(), "Served after one retry.")
	}},
	{name: "crash", test: func(f *fixture) {
		r := f.start("[[waitfile]]")
		f.awaitWaiting()
		for _, pid := range process.Descendants(os.Getpid()) {
			_ = syscall.Kill(pid, syscall.SIGKILL) // Its parent comes first; it may be gone with that.
		}
		r.requireEnd(failed, backendv1.RunReason_RUN_REASON_AGENT_CRASHED)
		requireNothingLeft(f)
	}},
	{name: "a program that gives up", test: func(f *fixture) {
		f.wrap("echo the reason why >&2; exit 7")
		r := f.run("hello")
		r.requireEnd(failed, backendv1.RunReason_RUN_REASON_AGENT_CRASHED)
		require.Contains(f.t, r.outcome.Message, "7")
		require.Contains(f.t, r.outcome.Message, "the reason why")
	}},
	{name: "a program that is not there", test: func(f *fixture) {
		f.driver = f.subject.Driver("/nonexistent/agent")
		a, err := f.driver.New(f.task, &attempt{t: f.t, changed: make(chan struct{})})
		if err != nil {
			return
		}
		require.Equal(f.t, backendv1.RunReason_RUN_REASON_AGENT_MISSING, a.Run(context.Background()).Reason)
	}},
	{name: "garbage", test: func(f *fixture) {
		f.wrap(`echo 'no JSON'; echo '{"half":'; printf '\377\376\n'; echo '[]'`)
		r := f.run("hello")
		r.requireEnd(completed, 0)
		require.Equal(f.t, 2, strings.Count(r.notices(), agent.NoticeGarbage), "once at the beginning, and how much in the end")
	}},
	{name: "no file moves the model", test: func(f *fixture) {
		for name, content := range f.subject.Files {
			path := filepath.Join(f.task.Dir, name)
			if below, ok := strings.CutPrefix(name, "state/"); ok {
				path = filepath.Join(f.task.StateDir, below)
			}
			require.NoError(f.t, os.MkdirAll(filepath.Dir(path), 0o755))
			require.NoError(f.t, os.WriteFile(path, []byte(content), 0o644))
		}
		r := f.run("hello there")
		r.requireEnd(completed, 0)
		require.Contains(f.t, r.said(), `You asked: "hello there"`)
		require.Equal(f.t, []string{f.subject.Model}, f.model.Stats().Models)
		require.Equal(f.t, []string{token}, f.model.Stats().Tokens)
	}},
	{name: "the executor's own variables stay with it", test: func(f *fixture) {
		f.t.Setenv("POCO_TEST_SECRET", "the executor's own")
		r := f.run("[[bash:env]]")
		r.requireEnd(completed, 0)
		require.Contains(f.t, r.results(), "PATH=")
		require.NotContains(f.t, r.results(), "POCO_TEST_SECRET")
		require.Contains(f.t, r.results(), "HOME="+f.task.HomeDir)
	}},
}

// requireNothingLeft waits until no process of the agent is there any more.
func requireNothingLeft(f *fixture) {
	f.t.Helper()
	require.Empty(f.t, process.Descendants(os.Getpid()))
}
