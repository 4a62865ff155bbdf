package e2e

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

// journey is what a whole demo run left behind, in a form that two runtimes
// can be compared by.
type journey struct {
	Events []string
	Files  map[string]string
	Zip    []string
}

// TestJourney sends the demo prompt through everything there is, in each
// runtime, and the two must not differ in what a user sees.
func TestJourney(t *testing.T) {
	seen := map[string]journey{}
	for _, runtime := range []string{processRuntime, dockerRuntime} {
		t.Run(runtime, func(t *testing.T) {
			s := newStack(t, stackOptions{runtime: runtime, pace: 15 * time.Millisecond}).start()
			session, run := s.enqueue("Show me. [[demo]]", "")
			f := s.follow(session)
			f.await("a question", func(e *backendv1.SessionEvent) bool { return e.GetPayload().GetUserInputRequested() != nil })
			s.answer(session, "German")
			end := f.awaitEnd(run)
			require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, end.GetStatus(), end.GetMessage())
			export := f.awaitExport(0)
			require.Equal(t, backendv1.ExportStatus_EXPORT_STATUS_READY, export.GetStatus(), export.GetReason())
			f.requireExactlyOnce()
			s.requireWholeDemo(f, session, run)
			seen[runtime] = s.journey(f, session)

			// The same conversation goes on, in the same workspace.
			_, second := s.enqueue("What did I say? [[memory]]", session)
			require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, f.awaitEnd(second).GetStatus())
			f.awaitText(`The first thing you said was: "Show me. [[demo]]". This is prompt number 2.`)
			require.Empty(t, s.model.Stats().Invalid)
			require.Zero(t, s.model.Stats().Unauthorized, "the gateway shows the real token")
		})
	}
	if len(seen) == 2 {
		require.Equal(t, seen[processRuntime].Events, seen[dockerRuntime].Events)
		require.Equal(t, seen[processRuntime].Files, seen[dockerRuntime].Files)
		require.Equal(t, seen[processRuntime].Zip, seen[dockerRuntime].Zip)
	}
}

// answer chooses the option of this label for all open questions of a session.
func (s *stack) answer(sessionID, answer string) {
	s.t.Helper()
	list, err := s.inputs.ListUserInputRequests(s.t.Context(), &backendv1.ListUserInputRequestsRequest{
		SessionId: sessionID, Statuses: []backendv1.UserInputStatus{backendv1.UserInputStatus_USER_INPUT_STATUS_PENDING},
	})
	require.NoError(s.t, err)
	require.NotEmpty(s.t, list.GetUserInputRequests())
	for _, request := range list.GetUserInputRequests() {
		var answers []*backendv1.UserAnswer
		for _, q := range request.GetQuestions() {
			answers = append(answers, &backendv1.UserAnswer{QuestionId: q.GetId(), Selected: []string{answer}})
		}
		_, err := s.inputs.AnswerUserInputRequest(s.t.Context(), &backendv1.AnswerUserInputRequestRequest{
			UserInputRequestId: request.GetId(), Answers: answers,
		})
		require.NoError(s.t, err)
	}
}

// requireWholeDemo checks everything the demo is to show.
func (s *stack) requireWholeDemo(f *follower, session, run string) {
	t := s.t
	t.Helper()
	f.mu.Lock()
	partials := len(f.partials)
	f.mu.Unlock()
	require.NotZero(t, partials, "text arrives while it is written")

	got := s.session(session)
	require.Equal(t, backendv1.SessionStatus_SESSION_STATUS_COMPLETED, got.GetStatus())
	require.Len(t, got.GetState().GetTodos(), 2)
	for _, todo := range got.GetState().GetTodos() {
		require.Equal(t, backendv1.TodoStatus_TODO_STATUS_COMPLETED, todo.GetStatus())
	}
	files := got.GetState().GetFiles().GetFiles()
	require.Len(t, files, 1)
	require.Equal(t, backendv1.FileChangeStatus_FILE_CHANGE_STATUS_ADDED, files[0].GetStatus())
	f.await("the file's diff", func(e *backendv1.SessionEvent) bool {
		changed := e.GetPayload().GetFilesChanged().GetFiles()
		return len(changed) == 1 && strings.Contains(changed[0].GetDiff(), "+language='German'")
	})
	require.Positive(t, got.GetState().GetUsage().GetTotalCostUsd())
	require.EqualValues(t, 100, s.run(run).GetProgress())

	tools, err := s.sessions.ListToolExecutions(t.Context(), &backendv1.ListToolExecutionsRequest{SessionId: session})
	require.NoError(t, err)
	outputs := map[string]string{}
	for _, tool := range tools.GetToolExecutions() {
		require.NotNil(t, tool.GetOutput(), "%s has an answer", tool.GetToolName())
		outputs[tool.GetToolName()] = tool.GetOutput().GetFields()["content"].GetStringValue()
	}
	require.Contains(t, outputs["Bash"], "Hello in German")

	messages, err := s.sessions.ListMessages(t.Context(), &backendv1.ListMessagesRequest{SessionId: session})
	require.NoError(t, err)
	require.Equal(t, backendv1.MessageRole_MESSAGE_ROLE_USER, messages.GetMessages()[0].GetRole())
	require.Equal(t, "Show me. [[demo]]", messages.GetMessages()[0].GetTextPreview())
}

// journey sums up events, exported files and archive.
func (s *stack) journey(f *follower, session string) journey {
	s.t.Helper()
	out := journey{Files: map[string]string{}}
	// How often to-dos and changes are told depends on time, and the CLI answers
	// the tools of one turn in any order.
	last := map[string]string{}
	for _, e := range f.all() {
		text := normalised(s.t, e, s.workspace(s.manager, session))
		switch {
		case e.GetRunSeq() == 0:
		case e.GetPayload().GetTodosChanged() != nil:
			last["todos"] = text
		case e.GetPayload().GetFilesChanged() != nil:
			last["files"] = text
		default:
			out.Events = append(out.Events, text)
		}
	}
	slices.Sort(out.Events)
	out.Events = append(out.Events, last["todos"], last["files"])
	list, err := s.sessions.ListWorkspaceFiles(s.t.Context(), &backendv1.ListWorkspaceFilesRequest{SessionId: session})
	require.NoError(s.t, err)
	for _, file := range list.GetFiles() {
		out.Files[file.GetPath()] = s.object("workspaces/default/" + session + "/files/" + file.GetPath())
	}
	require.Contains(s.t, out.Files, "greeting.sh")
	archive := s.object("workspaces/default/" + session + "/archive.zip")
	reader, err := zip.NewReader(bytes.NewReader([]byte(archive)), int64(len(archive)))
	require.NoError(s.t, err)
	for _, file := range reader.File {
		out.Zip = append(out.Zip, file.Name)
	}
	return out
}

func (s *stack) object(key string) string {
	s.t.Helper()
	body, _, err := s.store.Get(s.t.Context(), key)
	require.NoError(s.t, err)
	defer body.Close()
	content, err := io.ReadAll(body)
	require.NoError(s.t, err)
	return string(content)
}

var (
	uuidPattern = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	// The scripted model's ids of tool calls hold a hash of the conversation.
	toolPattern = regexp.MustCompile(`toolu_(\w+)_[0-9a-f]{8}_`)
	timePattern = regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+Z?`)
)

// normalised is an executor's event without what differs from run to run:
// ids, times, the workspace's place.
func normalised(t testing.TB, e *backendv1.SessionEvent, workspace string) string {
	t.Helper()
	payload := e.GetPayload()
	for _, usage := range []*backendv1.Usage{payload.GetUsageReported().GetUsage(), payload.GetRunFinished().GetUsage()} {
		if usage != nil {
			usage.Duration, usage.ApiDuration = nil, nil
		}
	}
	content, err := protojson.Marshal(payload)
	require.NoError(t, err)
	var compact bytes.Buffer
	require.NoError(t, json.Compact(&compact, content))
	text := strings.ReplaceAll(compact.String(), workspace, "/workspace")
	text = timePattern.ReplaceAllString(uuidPattern.ReplaceAllString(text, "ID"), "TIME")
	text = toolPattern.ReplaceAllString(text, "toolu_${1}_")
	return strings.ReplaceAll(text, strings.ReplaceAll(workspace, "/", "-"), "-workspace")
}

// TestSandbox looks at the living executor of a run: no credential but the
// run's own is in it, and nothing of it is left afterwards.
func TestSandbox(t *testing.T) {
	for _, runtime := range []string{processRuntime, dockerRuntime} {
		t.Run(runtime, func(t *testing.T) {
			s := newStack(t, stackOptions{runtime: runtime}).start()
			f, session, run := s.midRun()
			for _, secret := range []string{modelToken, internalToken, s.common["S3_SECRET_KEY"], s.common["SECRET_KEY"]} {
				require.Empty(t, executorsWith(t, secret), "a credential is in the environment of an executor")
			}
			container := ""
			if runtime == dockerRuntime {
				container = s.requireCleanContainer(session)
			}
			s.letGo(session)
			require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, f.awaitEnd(run).GetStatus())
			if container != "" {
				awaitContainerGone(t, container)
			}
			for _, pid := range s.agentProcesses(session) {
				awaitGone(t, pid)
			}
		})
	}
}

// executorsWith returns the processes of executors and their agents whose
// environment or command line contains a secret.
func executorsWith(t testing.TB, secret string) []int {
	t.Helper()
	inside := append(processesWith(t, "EXECUTOR_TOKEN="), processesWith(t, "CLAUDE_CONFIG_DIR=")...)
	require.NotEmpty(t, inside)
	knows := processesWith(t, secret)
	return slices.DeleteFunc(inside, func(pid int) bool { return !slices.Contains(knows, pid) })
}
