package app

import (
	"bytes"
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

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/executor/internal/agent"
	"github.com/poco-ai/poco/services/internal/journal"
)

// said counts how often a text is a user's message in the session's transcripts.
func said(t *testing.T, workspace, text string) int {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(filepath.Dir(workspace), "state", "*", "projects", "*", "*.jsonl"))
	require.NoError(t, err)
	require.NotEmpty(t, names)
	n := 0
	for _, name := range names {
		content, err := os.ReadFile(name)
		require.NoError(t, err)
		for line := range strings.Lines(string(content)) {
			if strings.Contains(line, `"type":"user"`) && strings.Contains(line, text) {
				n++
			}
		}
	}
	return n
}

// offeredAgain is the next attempt of a run, whose agent may have the prompt.
func offeredAgain(req *executorv1.StartRunRequest, m *manager) *executorv1.StartRunRequest {
	again := proto.CloneOf(req)
	again.Attempt++
	again.PromptOffered, again.ChannelUrl = true, m.url
	again.Config = &backendv1.TaskConfig{LostExecutorPolicy: backendv1.LostExecutorPolicy_LOST_EXECUTOR_POLICY_RESUME.Enum()}
	return again
}

// The executor died between StartRun and the CLI: the agent gets the prompt now,
// also in a session with an older conversation, which proves nothing.
func TestAPromptThatTheAgentDidNotTakeIsGiven(t *testing.T) {
	m, dir := newManager(t), workspaceDir(t)
	first, _ := request(t, m, "the older prompt [[text]]")
	client, stop := start(t, dir)
	_, err := client.StartRun(t.Context(), first)
	require.NoError(t, err)
	require.Equal(t, completed, m.finished().GetStatus(), m.finished().GetMessage())
	conversation := ""
	for _, e := range m.log() {
		if started := e.GetAgentStarted(); started != nil {
			conversation = started.GetAgentSessionId()
		}
	}
	require.NotEmpty(t, conversation)
	stop()

	m = newManager(t)
	second := offeredAgain(first, m)
	second.RunId, second.Prompt, second.AgentSessionId = uuid.NewString(), "the newer prompt [[text]]", conversation
	client, _ = start(t, dir)
	_, err = client.StartRun(t.Context(), second)
	require.NoError(t, err)
	require.Equal(t, completed, m.finished().GetStatus(), m.finished().GetMessage())
	require.Equal(t, 1, said(t, dir, "the newer prompt"))
	require.Zero(t, said(t, dir, agent.ContinuePrompt))
}

// The executor died before any event came through, and the agent was at work:
// its conversation goes on, and the prompt is not given twice.
func TestAPromptThatTheAgentTookIsNotGivenAgain(t *testing.T) {
	for name, policy := range map[string]backendv1.LostExecutorPolicy{
		"resumed": backendv1.LostExecutorPolicy_LOST_EXECUTOR_POLICY_RESUME, "given up": backendv1.LostExecutorPolicy_LOST_EXECUTOR_POLICY_FAIL,
	} {
		t.Run(name, func(t *testing.T) {
			m, dir := newManager(t), workspaceDir(t)
			req, model := request(t, m, "the only prompt [[gate]]")
			client, stop := start(t, dir)
			_, err := client.StartRun(t.Context(), req)
			require.NoError(t, err)
			<-model.Arrived("gate")
			stop()
			model.Release("gate")

			m = newManager(t)
			again := offeredAgain(req, m)
			again.Config.LostExecutorPolicy = policy.Enum()
			client, _ = start(t, dir)
			_, err = client.StartRun(t.Context(), again)
			require.NoError(t, err)
			f := m.finished()
			require.Equal(t, 1, said(t, dir, "the only prompt"))
			if policy == backendv1.LostExecutorPolicy_LOST_EXECUTOR_POLICY_FAIL {
				require.Equal(t, backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, f.GetReason(), f.GetMessage())
				return
			}
			require.Equal(t, completed, f.GetStatus(), f.GetMessage())
			require.NotZero(t, said(t, dir, agent.ContinuePrompt)) // the CLI says it too, of a turn that was cut off
		})
	}
}

// What is not delivered is on the disk when the executor is gone, and only then.
func TestWhatIsNotDeliveredIsKept(t *testing.T) {
	m, dir := newManager(t), workspaceDir(t)
	m.refuse = status.Error(codes.Unavailable, "away")
	req, _ := request(t, m, "hello [[text]]")
	client, stop := start(t, dir)
	_, err := client.StartRun(t.Context(), req)
	require.NoError(t, err)
	path := filepath.Join(filepath.Dir(dir), "state", journal.DirName, journal.Name(req.GetRunId(), req.GetAttempt()))
	require.Eventually(t, func() bool {
		last := kept(t, path)
		return len(last) > 0 && last[len(last)-1].GetPayload().GetRunFinished() != nil
	}, time.Minute, 20*time.Millisecond)
	stop()
	events := kept(t, path)
	for i, e := range events {
		require.EqualValues(t, i+1, e.GetRunSeq())
	}
	require.Equal(t, completed, events[len(events)-1].GetPayload().GetRunFinished().GetStatus())

	m = newManager(t)
	again, _ := request(t, m, "hello [[text]]")
	client, _ = start(t, dir)
	_, err = client.StartRun(t.Context(), again)
	require.NoError(t, err)
	waitIdle(t, client)
	require.Equal(t, completed, m.finished().GetStatus())
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), again.GetRunId()+"*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

// kept reads a journal.
func kept(t *testing.T, path string) (events []*executorv1.RunEvent) {
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	r := journal.NewReader(bytes.NewReader(content), journal.KeyOf(runToken))
	for {
		e, err := r.Next()
		if err != nil {
			return events
		}
		events = append(events, e)
	}
}
