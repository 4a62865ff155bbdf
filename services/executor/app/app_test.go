package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/grpcclient"
)

const (
	completed = backendv1.RunStatus_RUN_STATUS_COMPLETED
	failed    = backendv1.RunStatus_RUN_STATUS_FAILED
	canceled  = backendv1.RunStatus_RUN_STATUS_CANCELED
)

// answerQuestions answers every question with the last option.
func (m *manager) answerQuestions() {
	m.t.Helper()
	var asked *backendv1.UserInputRequested
	m.await("a question", func() bool {
		for _, e := range m.events {
			if q := e.GetPayload().GetUserInputRequested(); q != nil {
				asked = q
			}
		}
		return asked != nil
	})
	var answers []*backendv1.UserAnswer
	for _, q := range asked.GetQuestions() {
		answers = append(answers, &backendv1.UserAnswer{QuestionId: q.GetId(), Selected: []string{q.GetOptions()[len(q.GetOptions())-1].GetLabel()}})
	}
	m.set(func() {
		m.commands = append(m.commands, &queuev1.RunCommand{Id: uuid.NewString(), Kind: &queuev1.RunCommand_Answer{
			Answer: &queuev1.AnswerCommand{UserInputRequestId: asked.GetUserInputRequestId(), Answers: answers},
		}})
	})
}

func TestDemoOverBreakingChannels(t *testing.T) {
	for name, breakAfter := range map[string]int{"steady": 0, "broken after every event": 1, "broken after every third": 3} {
		t.Run(name, func(t *testing.T) {
			m, dir := newManager(t), workspaceDir(t)
			m.breakAfter = breakAfter
			req, model := request(t, m, "show [[demo]]")
			client, stop := start(t, dir)
			_, err := client.StartRun(t.Context(), req)
			require.NoError(t, err)
			_, err = client.StartRun(t.Context(), req)
			require.NoError(t, err, "starting the same run again changes nothing")
			m.answerQuestions()
			require.Equal(t, completed, m.finished().GetStatus(), m.finished().GetMessage())

			events := m.log()
			n := len(events)
			require.NotNil(t, events[0].GetAgentStarted())
			require.NotNil(t, events[n-2].GetUsageReported())
			var files *backendv1.FilesChanged
			var todos *backendv1.TodosChanged
			for _, e := range events {
				if f := e.GetFilesChanged(); f != nil {
					files = f
				}
				if td := e.GetTodosChanged(); td != nil {
					todos = td
				}
			}
			require.Len(t, files.GetFiles(), 1)
			require.Equal(t, "greeting.sh", files.GetFiles()[0].GetPath())
			require.Contains(t, files.GetFiles()[0].GetDiff(), "+language='German'")
			require.EqualValues(t, 4, files.GetTotalAdditions())
			require.Len(t, todos.GetTodos(), 2)
			require.InDelta(t, 0.0042, m.finished().GetUsage().GetTotalCostUsd(), 1e-9)
			require.Equal(t, []string{runToken}, model.Stats().Tokens)
			if breakAfter == 0 {
				require.Equal(t, 1, m.opened)
				require.NotEmpty(t, m.partial) // of which text is chance: one that its message overtakes is dropped
			} else {
				require.Greater(t, m.opened, 2)
			}
			stop()
			require.NoFileExists(t, filepath.Join(dir, ".git", "poco-index.lock"))
		})
	}
}

func TestFollowUpResumes(t *testing.T) {
	m := newManager(t)
	req, _ := request(t, m, "Remember the pears.")
	client, _ := start(t, workspaceDir(t))
	_, err := client.StartRun(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, completed, m.finished().GetStatus())
	agentSession := m.log()[0].GetAgentStarted().GetAgentSessionId()

	second := newManager(t)
	next := proto.CloneOf(req)
	next.RunId, next.ChannelUrl, next.AgentSessionId, next.Prompt = uuid.NewString(), second.url, agentSession, "[[memory]]"
	waitIdle(t, client)
	_, err = client.StartRun(t.Context(), next)
	require.NoError(t, err)
	require.Equal(t, completed, second.finished().GetStatus(), second.finished().GetMessage())
	require.True(t, second.log()[0].GetAgentStarted().GetResumed())
	require.Contains(t, second.log()[1].GetMessageAdded().GetVerbatimJson(), "Remember the pears.")
}

// A run that is killed early leaves the id of a conversation that the CLI never
// wrote. The next prompt must not fail for it, for ever.
func TestFollowUpOfALostConversation(t *testing.T) {
	m := newManager(t)
	req, _ := request(t, m, "[[memory]]")
	req.AgentSessionId = uuid.NewString()
	client, _ := start(t, workspaceDir(t))
	_, err := client.StartRun(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, completed, m.finished().GetStatus(), m.finished().GetMessage())
	require.Equal(t, "conversation_lost", m.log()[0].GetNotice().GetCode())
	require.False(t, m.log()[1].GetAgentStarted().GetResumed())
	require.NotEqual(t, req.GetAgentSessionId(), m.log()[1].GetAgentStarted().GetAgentSessionId())
}

// waitIdle waits until the last run is delivered.
func waitIdle(t *testing.T, client executorv1.ExecutorServiceClient) {
	t.Helper()
	require.Eventually(t, func() bool {
		s, err := client.GetStatus(t.Context(), &executorv1.GetStatusRequest{})
		return err == nil && s.GetIdle()
	}, 20*time.Second, 5*time.Millisecond)
}

func TestCancel(t *testing.T) {
	for _, how := range []string{"rpc", "command"} {
		t.Run(how, func(t *testing.T) {
			m := newManager(t)
			req, _ := request(t, m, "[[waitfile]]")
			client, _ := start(t, workspaceDir(t))
			_, err := client.StartRun(t.Context(), req)
			require.NoError(t, err)
			_, err = client.StartRun(t.Context(), withRunID(req, uuid.NewString()))
			require.Equal(t, codes.FailedPrecondition, status.Code(err))
			m.await("the command to run", func() bool { return len(m.events) >= 3 })
			id := uuid.NewString()
			if how == "rpc" {
				_, err = client.CancelRun(t.Context(), &executorv1.CancelRunRequest{RunId: req.GetRunId(), Reason: "enough"})
				require.NoError(t, err)
				_, err = client.CancelRun(t.Context(), &executorv1.CancelRunRequest{RunId: uuid.NewString()})
				require.Equal(t, codes.NotFound, status.Code(err))
			} else {
				m.set(func() {
					m.commands = append(m.commands, &queuev1.RunCommand{Id: id, Kind: &queuev1.RunCommand_Cancel{Cancel: &queuev1.CancelCommand{Reason: "enough"}}})
				})
			}
			require.Equal(t, canceled, m.finished().GetStatus())
			require.Equal(t, backendv1.RunReason_RUN_REASON_CANCELED, m.finished().GetReason())
			require.Equal(t, "Canceled: enough", m.finished().GetMessage())
			if how == "command" {
				m.await("the command's acknowledgement", func() bool { return m.done[id] == 1 })
			}
		})
	}
}

func withRunID(req *executorv1.StartRunRequest, id string) *executorv1.StartRunRequest {
	req = proto.CloneOf(req)
	req.RunId = id
	return req
}

func TestLeaseRunsOut(t *testing.T) {
	m, dir := newManager(t), workspaceDir(t)
	// A held agent is given up after the longest time that it was ever given.
	const lease = 10 * time.Second
	m.set(func() { m.ttl = lease })
	req, model := request(t, m, "[[gate]]")
	req.LeaseTtl = durationpb.New(lease)
	client, _ := start(t, dir)
	_, err := client.StartRun(t.Context(), req)
	require.NoError(t, err)
	<-model.Arrived("gate")
	m.set(func() { m.renew = time.Millisecond })
	require.Eventually(t, func() bool {
		s, err := client.GetStatus(t.Context(), &executorv1.GetStatusRequest{})
		return err == nil && s.GetLastRunSeq() > s.GetAckedRunSeq() && modelIdle(dir)
	}, time.Minute, 20*time.Millisecond)
	for _, payload := range m.log() {
		require.Nil(t, payload.GetRunFinished(), "nothing is reported without a lease")
	}

	// The manager turns out to hold the run still: now everything is told.
	m.set(func() { m.renew = time.Minute })
	require.Equal(t, failed, m.finished().GetStatus())
	require.Equal(t, backendv1.RunReason_RUN_REASON_LEASE_LOST, m.finished().GetReason())
}

// modelIdle says whether no CLI works in the workspace.
func modelIdle(dir string) bool {
	processes, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, p := range processes {
		if target, err := os.Readlink(p); err == nil && strings.HasPrefix(target, dir) {
			return false
		}
	}
	return true
}

func TestRevoked(t *testing.T) {
	for name, end := range map[string]func(m *manager){
		"revoked": func(m *manager) { close(m.revoke) },
		"not found": func(m *manager) {
			m.set(func() { m.refuse = status.Error(codes.NotFound, "not held"); m.breakAfter = 1 })
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, dir := newManager(t), workspaceDir(t)
			req, model := request(t, m, "[[gate]]")
			client, _ := start(t, dir)
			_, err := client.StartRun(t.Context(), req)
			require.NoError(t, err)
			<-model.Arrived("gate")
			if name == "not found" {
				m.set(func() {
					m.commands = append(m.commands, &queuev1.RunCommand{Id: "c"}) // Makes it speak.
				})
			}
			end(m)
			if name == "not found" {
				model.Release("gate")
			}
			waitIdle(t, client)
			require.True(t, modelIdle(dir))
		})
	}
}

func TestTrouble(t *testing.T) {
	cases := map[string]struct {
		prompt string
		reason backendv1.RunReason
		change func(t *testing.T, req *executorv1.StartRunRequest)
	}{
		"run timeout": {"[[sleep:60]]", backendv1.RunReason_RUN_REASON_RUN_TIMEOUT, func(_ *testing.T, req *executorv1.StartRunRequest) {
			req.Limits.Timeout = durationpb.New(1500 * time.Millisecond)
		}},
		"resume without a conversation": {"x", backendv1.RunReason_RUN_REASON_RESUME_FAILED, func(_ *testing.T, req *executorv1.StartRunRequest) {
			req.PromptSubmitted = true
		}},
		"repository away": {"x", backendv1.RunReason_RUN_REASON_WORKSPACE_ERROR, func(_ *testing.T, req *executorv1.StartRunRequest) {
			req.Config = &backendv1.TaskConfig{RepoUrl: proto.String("http://127.0.0.1:1/project.git")}
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			m := newManager(t)
			req, _ := request(t, m, c.prompt)
			c.change(t, req)
			client, _ := start(t, workspaceDir(t))
			_, err := client.StartRun(t.Context(), req)
			require.NoError(t, err)
			f := m.finished()
			require.Equal(t, failed, f.GetStatus())
			require.Equal(t, c.reason, f.GetReason(), f.GetMessage())
		})
	}
}

// What an agent cannot keep to is told before it begins, and so is a model that
// nobody has named: the executor's own is Claude Code's.
func TestTasksThatAnAgentCannotDo(t *testing.T) {
	for name, c := range map[string]struct {
		config *backendv1.TaskConfig
		limits *executorv1.RunLimits
		says   string
	}{
		"plan mode":         {config: &backendv1.TaskConfig{Model: new("m"), PermissionMode: backendv1.PermissionMode_PERMISSION_MODE_PLAN.Enum()}, says: "Codex cannot work on this: it has no plan mode"},
		"a limit of cost":   {config: &backendv1.TaskConfig{Model: new("m")}, limits: &executorv1.RunLimits{MaxCostUsd: 1}, says: "max_cost_usd"},
		"a limit of tokens": {config: &backendv1.TaskConfig{Model: new("m")}, limits: &executorv1.RunLimits{MaxTokens: 1}, says: "max_tokens"},
		"no model":          {config: &backendv1.TaskConfig{}, says: "OPENAI_AGENT_MODEL"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newManager(t)
			c.config.Agent = new("codex")
			client, _ := start(t, workspaceDir(t))
			_, err := client.StartRun(t.Context(), &executorv1.StartRunRequest{
				RunId: uuid.NewString(), SessionId: uuid.NewString(), Prompt: "p", NextRunSeq: 1, Config: c.config, Limits: c.limits,
				LeaseTtl: durationpb.New(time.Minute), ChannelUrl: m.url, ChannelToken: runToken, Attempt: 1,
			})
			require.NoError(t, err)
			require.Equal(t, backendv1.RunReason_RUN_REASON_CONFIG_ERROR, m.finished().GetReason(), m.finished().GetMessage())
			require.Contains(t, m.finished().GetMessage(), c.says)
		})
	}
}

func TestMissingCLIAndWorkspace(t *testing.T) {
	m := newManager(t)
	req := &executorv1.StartRunRequest{
		RunId: uuid.NewString(), SessionId: uuid.NewString(), Prompt: "p", NextRunSeq: 1,
		LeaseTtl: durationpb.New(time.Minute), ChannelUrl: m.url, ChannelToken: runToken, Attempt: 1,
	}
	client, stop := start(t, workspaceDir(t), "CLAUDE_CLI_PATH=/nonexistent/claude")
	_, err := client.StartRun(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, backendv1.RunReason_RUN_REASON_AGENT_MISSING, m.finished().GetReason())
	require.Contains(t, m.finished().GetMessage(), "CLAUDE_CLI_PATH")
	stop()

	m = newManager(t)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	client, _ = start(t, file)
	_, err = client.StartRun(t.Context(), withChannel(req, m.url))
	require.NoError(t, err)
	require.Equal(t, backendv1.RunReason_RUN_REASON_WORKSPACE_ERROR, m.finished().GetReason())
	require.Contains(t, m.finished().GetMessage(), "not writable")
}

func withChannel(req *executorv1.StartRunRequest, url string) *executorv1.StartRunRequest {
	req = proto.CloneOf(req)
	req.ChannelUrl = url
	return req
}

func TestBigToolResultIsCutAndKept(t *testing.T) {
	m, dir := newManager(t), workspaceDir(t)
	req, _ := request(t, m, "[[big:20000]]")
	req.Limits.MaxEventBytes = 8 << 10
	client, _ := start(t, dir)
	_, err := client.StartRun(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, completed, m.finished().GetStatus())
	found := false
	for _, e := range m.log() {
		require.LessOrEqual(t, proto.Size(e), 8<<10)
		for _, b := range e.GetMessageAdded().GetBlocks() {
			if r := b.GetToolResult(); r != nil {
				found = true
				require.True(t, r.GetTruncated())
				require.EqualValues(t, 20000, r.GetFullSize())
				require.Contains(t, r.GetContent(), "of 20000 bytes; the whole text is in tool_results/")
			}
		}
	}
	require.True(t, found)
	kept, err := filepath.Glob(filepath.Join(filepath.Dir(dir), "state", "tool_results", req.GetRunId(), "*.txt"))
	require.NoError(t, err)
	require.Len(t, kept, 1)
	content, err := os.ReadFile(kept[0])
	require.NoError(t, err)
	require.Len(t, content, 20000)
}

func TestWrongTokens(t *testing.T) {
	m := newManager(t)
	client, stop := start(t, workspaceDir(t))
	_, err := client.GetStatus(t.Context(), &executorv1.GetStatusRequest{})
	require.NoError(t, err)
	_, err = client.StartRun(t.Context(), &executorv1.StartRunRequest{RunId: "x"})
	require.Equal(t, codes.InvalidArgument, status.Code(err))

	// A wrong run token: the executor gives the run up.
	req, _ := request(t, m, "[[hang]]")
	req.ChannelToken = "pct_wrong"
	_, err = client.StartRun(t.Context(), req)
	require.NoError(t, err)
	waitIdle(t, client)
	require.Empty(t, m.log())
	stop()
}

func TestExecutorTokenIsDemanded(t *testing.T) {
	listenerURL := make(chan string, 1)
	cfg, err := LoadConfig(config.Sources{Environ: []string{
		"EXECUTOR_TOKEN=" + executorToken, "DEFAULT_MODEL=m", "EXECUTOR_HOST=127.0.0.1", "EXECUTOR_PORT=0", "WORKSPACE_PATH=" + t.TempDir(),
	}})
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- Run(t.Context(), cfg, Options{Ready: func(url string) { listenerURL <- url }}) }()
	t.Cleanup(func() { require.NoError(t, <-ended) })
	url := <-listenerURL
	for _, token := range []config.Secret{{}, config.NewSecret("wrong")} {
		conn, err := grpcclient.Dial(url, token)
		require.NoError(t, err)
		_, err = executorv1.NewExecutorServiceClient(conn).GetStatus(t.Context(), &executorv1.GetStatusRequest{})
		require.Equal(t, codes.Unauthenticated, status.Code(err))
		_, err = configv1.NewConfigServiceClient(conn).GetConfig(t.Context(), &configv1.GetConfigRequest{})
		require.Equal(t, codes.Unauthenticated, status.Code(err), "over loopback, too")
		require.NoError(t, conn.Close())
	}
}

func TestStoppedDuringARun(t *testing.T) {
	m, dir := newManager(t), workspaceDir(t)
	req, model := request(t, m, "[[gate]]")
	client, stop := start(t, dir)
	_, err := client.StartRun(t.Context(), req)
	require.NoError(t, err)
	<-model.Arrived("gate")
	stop()
	require.Equal(t, backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, m.finished().GetReason())
	require.True(t, modelIdle(dir))
}
