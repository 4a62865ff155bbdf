package command_test

import (
	"bytes"
	"encoding/json"
	"net"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/config"
	test "github.com/poco-ai/poco/services/poco/internal/backendtest"
	"github.com/poco-ai/poco/services/poco/internal/command"
)

// poco runs the command line against a backend, without a terminal.
func poco(t *testing.T, backendURL, input string, args ...string) (code int, out, stderr string) {
	t.Helper()
	var stdout, errout bytes.Buffer
	sources := config.Sources{Environ: []string{"POCO_URL=" + backendURL}}
	code = command.Main(sources, args, strings.NewReader(input), &stdout, &errout)
	return code, stdout.String(), errout.String()
}

func ending(status backendv1.RunStatus) test.Connection {
	return test.Connection{Messages: []*backendv1.WatchSessionResponse{
		test.CaughtUp(), test.Event(1, test.Text("hi\x1b[2J there")), test.Event(2, test.Status(status)),
	}}
}

func TestExitCodeTellsTheOutcome(t *testing.T) {
	for status, want := range map[backendv1.RunStatus]int{
		backendv1.RunStatus_RUN_STATUS_COMPLETED: 0,
		backendv1.RunStatus_RUN_STATUS_FAILED:    1,
		backendv1.RunStatus_RUN_STATUS_CANCELED:  3,
	} {
		code, out, stderr := poco(t, test.New(t, ending(status)).URL, "", "run", "go")
		require.Equal(t, want, code, stderr)
		require.Contains(t, out, "hi there\n")
		require.NotContains(t, out, "\x1b")
		require.Empty(t, stderr)
	}
}

func TestUnreachableBackend(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	for _, args := range [][]string{{"run", "hi"}, {"ls"}, {"answer"}, {"cancel", test.RunID}} {
		code, _, stderr := poco(t, "http://"+listener.Addr().String(), "", args...)
		require.Equal(t, 4, code, args)
		require.Contains(t, stderr, "poco up")
	}
}

// The variables of a deployment's services say nothing about the commands.
func TestTheCommandsTakeTheirOwnVariable(t *testing.T) {
	backend := test.New(t, ending(backendv1.RunStatus_RUN_STATUS_COMPLETED))
	var stdout, stderr bytes.Buffer
	sources := config.Sources{Environ: []string{"POCO_BACKEND_URL=http://127.0.0.1:1", "BACKEND_URL=http://127.0.0.1:1", "POCO_URL=" + backend.URL}}
	code := command.Main(sources, []string{"run", "go"}, strings.NewReader(""), &stdout, &stderr)
	require.Zero(t, code, "%s", stderr.String())

	sources.Environ = []string{"POCO_BACKEND_URL=" + backend.URL, "POCO_DATA_DIR=" + t.TempDir(), "POCO_URL=http://127.0.0.1:1"}
	code = command.Main(sources, []string{"run", "go"}, strings.NewReader(""), &stdout, &stderr)
	require.Equal(t, 4, code, "%s", stdout.String())
}

func TestWrongUse(t *testing.T) {
	backend := test.New(t, test.Connection{Err: connect.NewError(connect.CodeInvalidArgument, "session_id: must be a valid UUID")})
	for _, c := range []struct{ args, err string }{
		{"run", "requires at least 1 arg"},
		{"run -", "the prompt is empty"},
		{"run --no-such-flag x", "unknown flag"},
		{"nonsense", "unknown command"},
		{"run --session 6f9c0000-0000-4000-8000-000000000009 x", "session not found"},
		{"attach x", "must be a valid UUID"},
		{"cancel 6f9c0000-0000-4000-8000-000000000009", "no run and no session"},
		{"answer 6f9c0000-0000-4000-8000-000000000009 1", "not an open question"},
		{"up --runtime podman", "use auto, docker or process"},
		{"ls --backend 127.0.0.1:1", "--backend: expected a URL such as http://host:port: put http://"},
		{"ls --backend ftp://x", "--backend: expected a URL"},
	} {
		code, _, stderr := poco(t, backend.URL, "", strings.Fields(c.args)...)
		require.Equal(t, 2, code, c.args)
		require.Contains(t, stderr, c.err)
	}
}

func TestRunSendsWhatTheFlagsSay(t *testing.T) {
	backend := test.New(t)
	code, out, _ := poco(t, backend.URL, "from stdin\n", "run", "--detach", "--json", "--agent", "codex", "--model", "m", "--timeout", "90s", "-")
	require.Equal(t, 0, code)
	require.JSONEq(t, `{"sessionId":"`+test.SessionID+`","runId":"`+test.RunID+`","status":"RUN_STATUS_QUEUED"}`, out)
	task := backend.Enqueued(t)
	require.Equal(t, "from stdin\n", task.GetPrompt())
	require.Equal(t, "m", task.GetConfig().GetModel())
	require.Equal(t, "codex", task.GetConfig().GetAgent())
	require.Equal(t, int64(90), task.GetConfig().GetTimeout().GetSeconds())
	require.NotEmpty(t, task.GetClientRequestId())
}

func TestRunGoesOnWithASessionAfterItsLastEvent(t *testing.T) {
	backend := test.New(t, ending(backendv1.RunStatus_RUN_STATUS_COMPLETED))
	code, _, stderr := poco(t, backend.URL, "", "run", "--session", test.SessionID, "more")
	require.Equal(t, 0, code, stderr)
	require.Equal(t, test.SessionID, backend.Enqueued(t).GetSessionId())
	require.Equal(t, []int64{7}, backend.Cursors())
}

func TestJSONIsOneEventALine(t *testing.T) {
	code, out, stderr := poco(t, test.New(t, ending(backendv1.RunStatus_RUN_STATUS_COMPLETED)).URL, "", "run", "--json", "go")
	require.Equal(t, 0, code)
	require.Contains(t, stderr, test.SessionID)
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	require.Len(t, lines, 2)
	for i, line := range lines {
		var event struct{ Seq, RunID string }
		require.NoError(t, json.Unmarshal([]byte(line), &event))
		require.Equal(t, []string{"1", "2"}[i], event.Seq)
		require.Equal(t, test.RunID, event.RunID)
	}
	require.NotContains(t, lines[0], "\x1b", "JSON escapes it")
}

func TestWithoutATerminalTheWayToAnswerIsTold(t *testing.T) {
	backend := test.New(t, test.Connection{Messages: []*backendv1.WatchSessionResponse{
		test.CaughtUp(), test.Event(1, test.Asked()), test.Event(2, test.Status(backendv1.RunStatus_RUN_STATUS_COMPLETED)),
	}})
	code, out, _ := poco(t, backend.URL, "1\n", "run", "go")
	require.Equal(t, 0, code)
	require.Contains(t, out, "poco answer "+test.RequestID+" ANSWER")
	require.Empty(t, backend.Answered, "input that is no terminal answers nothing")
}

func TestAnswer(t *testing.T) {
	backend := test.New(t)
	backend.Questions = []*backendv1.UserInputRequest{{Id: test.RequestID, SessionId: test.SessionID, Questions: test.Questions()}}
	code, out, _ := poco(t, backend.URL, "", "answer")
	require.Equal(t, 0, code)
	require.Contains(t, out, "Which?")
	require.Contains(t, out, test.RequestID)

	code, _, stderr := poco(t, backend.URL, "", "answer", test.RequestID, "1", "2")
	require.Equal(t, 2, code)
	require.Contains(t, stderr, "1 questions and 2 answers")

	code, _, _ = poco(t, backend.URL, "", "answer", test.RequestID, "2")
	require.Equal(t, 0, code)
	answer := (<-backend.Answered).GetAnswers()[0]
	require.Equal(t, "1", answer.GetQuestionId())
	require.Equal(t, []string{"Blue"}, answer.GetSelected())

	code, _, _ = poco(t, backend.URL, "my own\n", "answer", test.RequestID)
	require.Equal(t, 0, code)
	answer = (<-backend.Answered).GetAnswers()[0]
	require.Empty(t, answer.GetSelected())
	require.Equal(t, "my own", answer.GetOtherText())
}

func TestCancelTakesARunOrASession(t *testing.T) {
	backend := test.New(t)
	code, out, _ := poco(t, backend.URL, "", "cancel", test.RunID)
	require.Equal(t, 0, code)
	require.Equal(t, "run "+test.RunID+": canceling\n", out)
	code, out, _ = poco(t, backend.URL, "", "cancel", test.SessionID)
	require.Equal(t, 0, code)
	require.Contains(t, out, test.RunID)
}

func TestDiffIsAPatch(t *testing.T) {
	backend := test.New(t)
	const patch = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\x1b[31m\n"
	backend.Changes = []*backendv1.FileChange{
		{Path: "x", Diff: patch}, {Path: "bin", Binary: true}, {Path: "large", DiffTruncated: true, Additions: 7, Diff: "@@ the beginning"},
	}
	for _, id := range []string{test.RunID, test.SessionID} {
		code, out, stderr := poco(t, backend.URL, "", "diff", id)
		require.Equal(t, 0, code, stderr)
		require.Equal(t, patch+"@@ the beginning\n", out, "to the byte")
		require.Equal(t, "bin is a binary file\nlarge has changed more than was recorded: +7 −0\nmore files were changed than were recorded\n", stderr)
	}
	code, _, stderr := poco(t, backend.URL, "", "diff", test.OtherRunID)
	require.Equal(t, 2, code)
	require.Contains(t, stderr, "no run and no session")
}

func TestList(t *testing.T) {
	backend := test.New(t)
	code, out, _ := poco(t, backend.URL, "", "ls")
	require.Equal(t, 0, code)
	require.Contains(t, out, "No sessions yet")
	backend.Sessions = []*backendv1.Session{{
		Id: test.SessionID, Title: "a\x1b]0;t\ab\nc", Status: backendv1.SessionStatus_SESSION_STATUS_RUNNING, QueuedRuns: 2,
	}}
	_, out, _ = poco(t, backend.URL, "", "ls")
	require.Contains(t, out, "running +2 queued")
	require.Contains(t, out, "ab c\n")
	_, out, _ = poco(t, backend.URL, "", "ls", "--json")
	require.Equal(t, 1, strings.Count(out, "\n"))
}

func TestEveryCommandHasHelpWithAnExample(t *testing.T) {
	_, out, _ := poco(t, "http://localhost", "", "--help")
	for _, name := range []string{"up", "demo", "run", "attach", "ls", "cancel", "diff", "answer", "model", "config", "version"} {
		require.Contains(t, out, "\n  "+name+" ")
		code, help, _ := poco(t, "http://localhost", "", name, "--help")
		require.Equal(t, 0, code)
		require.Contains(t, help, "Examples:")
	}
	require.NotContains(t, out, "executor ")
}
