package claude

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/executor/internal/agent"
	"github.com/poco-ai/poco/services/internal/sanitize"
)

// replay feeds a recorded exchange to the translator and returns what came
// out, and the outcome of its result.
func replay(t *testing.T, name string) (log, partial string, outcome *agent.Outcome, usage *backendv1.Usage) {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "recorded", name+".jsonl"))
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	resuming := strings.Contains(name, "resume")
	tr, r := newTranslator(resuming), &recorder{}
	scanner := bufio.NewScanner(f)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		var recorded struct {
			Dir string          `json:"dir"`
			Msg json.RawMessage `json:"msg"`
		}
		require.NoError(t, json.Unmarshal(scanner.Bytes(), &recorded))
		if recorded.Dir != "from_cli" {
			continue
		}
		var m wireMessage
		data := sanitize.JSON(recorded.Msg)
		require.NoError(t, json.Unmarshal(data, &m))
		if m.Type == "result" {
			o := ofResult(m.Subtype, &m.wireResult, resuming)
			outcome, usage = &o, usageOf(&m.wireResult)
		}
		if m.Type == "control_request" && asksPerson(m.Request.ToolName) {
			q, err := newQuestion(m.RequestID, m.Request, testTime)
			require.NoError(t, err)
			r.Emit(q.payload())
		}
		out := tr.translate(data, &m)
		for _, p := range out.payloads {
			r.Emit(p)
		}
		if out.partial != nil {
			r.Partial(out.partial)
		}
	}
	require.NoError(t, scanner.Err())
	return r.log(), r.partial.String(), outcome, usage
}

func TestRecordedExchanges(t *testing.T) {
	const started = "started claude-sonnet-4-20250514 resumed=false servers=0\n"
	cases := []struct {
		name, want string
		status     backendv1.RunStatus
		reason     backendv1.RunReason
	}{
		{"basic", started + `
assistant text(Writing a file.)
assistant use(Bash)
user result(hi, error=false)
assistant text(Done.)`, backendv1.RunStatus_RUN_STATUS_COMPLETED, 0},
		{"ask_user_question", started + `
assistant use(AskUserQuestion)
asked AskUserQuestion Which color?(2)
user result(Your questions have been answered, error=false)
assistant text(Thanks.)`, backendv1.RunStatus_RUN_STATUS_COMPLETED, 0},
		{"ask_denied", started + `
assistant use(AskUserQuestion)
asked AskUserQuestion Which color?(2)
user result(User input timeout, error=true)
assistant text(Thanks.)`, backendv1.RunStatus_RUN_STATUS_COMPLETED, 0},
		{"plan_mode", started + `
assistant use(ExitPlanMode)
asked ExitPlanMode Go ahead with this plan?

1. do it(2)
user result(User has approved your plan. You , error=false)
assistant text(plan ok)`, backendv1.RunStatus_RUN_STATUS_COMPLETED, 0},
		{"api_401_max_retries_1", started + `
retry 1/1 401 authentication_failed
assistant text(Not logged in · Please run /login)`, backendv1.RunStatus_RUN_STATUS_FAILED, backendv1.RunReason_RUN_REASON_AUTHENTICATION_FAILED},
		{"bad_resume", ``, backendv1.RunStatus_RUN_STATUS_FAILED, backendv1.RunReason_RUN_REASON_RESUME_FAILED},
		{"resume", strings.Replace(started, "resumed=false", "resumed=true", 1) + `assistant text(Hello there, streaming text in two parts.)`, backendv1.RunStatus_RUN_STATUS_COMPLETED, 0},
		{"interrupt", started + `
assistant use(Bash)
user result(The user doesn't want to proceed , error=true)
user text([Request interrupted by user for tool use])`, backendv1.RunStatus_RUN_STATUS_FAILED, backendv1.RunReason_RUN_REASON_AGENT_ERROR},
		{"max_turns", started + `
assistant use(TaskCreate)
user result(Task #1 created successfully: Wri, error=false)
todos 1:pending now=
assistant use(TaskUpdate)
user result(Updated task #1 status, error=false)
todos 1:in_progress now=Writing file`, backendv1.RunStatus_RUN_STATUS_FAILED, backendv1.RunReason_RUN_REASON_MAX_TURNS},
		{"tasks", started + `
assistant use(TaskCreate)
user result(Task #1 created successfully: Wri, error=false)
todos 1:pending now=
assistant use(TaskUpdate)
user result(Updated task #1 status, error=false)
todos 1:in_progress now=Writing file
assistant use(TaskUpdate)
user result(Updated task #1 status, error=false)
todos 1:completed now=
assistant text(All tasks done.)`, backendv1.RunStatus_RUN_STATUS_COMPLETED, 0},
		{"mcp", `
started claude-sonnet-4-20250514 resumed=false servers=2
mcp demo:connected broken:failed
assistant use(mcp__demo__echo)
user result(ping, error=false)
assistant text(mcp done)`, backendv1.RunStatus_RUN_STATUS_COMPLETED, 0},
		{"thinking", started + `
assistant thinking(Let me think.)
assistant text(Answer.)`, backendv1.RunStatus_RUN_STATUS_COMPLETED, 0},
		{"todowrite", started + `
assistant use(TodoWrite)
user result(<tool_use_error>Error: No such to, error=true)
assistant text(ok)`, backendv1.RunStatus_RUN_STATUS_COMPLETED, 0},
		{"tool_error", started + `
assistant use(Bash)
user result(Exit code 3, error=true)
assistant text(It failed.)`, backendv1.RunStatus_RUN_STATUS_COMPLETED, 0},
		{"write_edit", started + `
assistant use(Write)
user result(File created successfully at: /wo, error=false)
assistant use(Edit)
user result(The file /workspace/a.txt has bee, error=false)
assistant text(edited)`, backendv1.RunStatus_RUN_STATUS_COMPLETED, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			log, _, outcome, usage := replay(t, c.name)
			requireLines(t, strings.ReplaceAll(c.want, started+"\n", started), log)
			require.NotNil(t, outcome)
			require.Equal(t, c.status, outcome.Status)
			require.Equal(t, c.reason, outcome.Reason, outcome.Message)
			require.NotNil(t, usage)
		})
	}
}

func TestRecordedWithoutResult(t *testing.T) {
	for _, name := range []string{"sigterm", "api_401", "api_529"} {
		_, _, outcome, _ := replay(t, name)
		require.Nil(t, outcome, name)
	}
}

func TestRecordedPartials(t *testing.T) {
	_, partial, _, usage := replay(t, "partial_messages")
	require.Equal(t, "Hello there, streaming text in two parts.", partial)
	require.InDelta(t, 0.0006, usage.GetTotalCostUsd(), 1e-9)
	require.EqualValues(t, 100, usage.GetInputTokens())
	require.EqualValues(t, 20, usage.GetOutputTokens())
	require.Len(t, usage.GetModels(), 1)
}

func TestStreamedUsageAddsUp(t *testing.T) {
	tr := newTranslator(false)
	for range 2 {
		tr.usage.start("", wireUsage{InputTokens: 100, OutputTokens: 1})
		tr.usage.update("", wireUsage{OutputTokens: 20})
		require.EqualValues(t, 20, tr.usage.current[""].OutputTokens)
		tr.usage.finish("")
	}
	require.Equal(t, wireUsage{InputTokens: 200, OutputTokens: 40}, tr.usage.sum())
}

func TestClean(t *testing.T) {
	cases := map[string]struct{ in, want string }{
		"untouched":        {`{"a":"b"}`, `{"a":"b"}`},
		"escaped NUL":      {`{"a":"x\u0000y"}`, `{"a":"x\u2400y"}`},
		"raw NUL":          {"{\"a\":\"x\x00y\"}", `{"a":"x␀y"}`},
		"escaped slash":    {`{"a":"\\u0000"}`, `{"a":"\\u0000"}`},
		"pair":             {`"\ud83d\ude00"`, `"\ud83d\ude00"`},
		"high alone":       {`"\ud83d!"`, `"\ufffd!"`},
		"high high low":    {`"\ud83d\ud83d\ude00"`, `"\ufffd\ud83d\ude00"`},
		"low alone":        {`"\uDE00"`, `"\ufffd"`},
		"high then escape": {`"\ud83d\n"`, `"\ufffd\n"`},
		"high at the end":  {`"\ud83d"`, `"\ufffd"`},
		"not UTF-8":        {"\"\xff\"", "\"\uFFFD\""},
		"other escapes":    {`"\u00e9\u0001"`, `"\u00e9\u0001"`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, string(sanitize.JSON([]byte(c.in))))
			require.True(t, json.Valid(sanitize.JSON([]byte(c.in))) || !json.Valid([]byte(c.in)))
		})
	}
}

func TestTodoWrite(t *testing.T) {
	var l todoList
	call := toolCall{name: "TodoWrite", input: json.RawMessage(`{"todos":[
		{"content":"A","status":"completed","activeForm":"Doing A"},
		{"content":"B","status":"in_progress"}]}`)}
	require.True(t, l.apply(call, nil, ""))
	require.Equal(t, "todos :completed :in_progress now=B", describe(l.payload()))

	require.True(t, l.apply(toolCall{name: "TaskUpdate", input: json.RawMessage(`{"taskId":"7","status":"completed"}`)}, nil, ""))
	require.Equal(t, "Task #7", l.payload().GetTodosChanged().GetTodos()[2].GetContent())
	require.True(t, l.apply(toolCall{name: "TaskUpdate", input: json.RawMessage(`{"taskId":"7","status":"deleted"}`)}, nil, ""))
	require.Len(t, l.todos, 2)
	require.False(t, l.apply(toolCall{name: "TaskUpdate", input: json.RawMessage(`[]`)}, nil, ""))
}

func TestUnknownContentIsKept(t *testing.T) {
	var m wireMessage
	raw := []byte(`{"type":"assistant","uuid":"x","message":{"content":[{"type":"image","source":{"a":1}},7,{"type":"tool_use","id":"t","name":"N","input":[1]}]}}`)
	require.NoError(t, json.Unmarshal(raw, &m))
	out := newTranslator(false).translate(raw, &m)
	blocks := out.payloads[0].GetMessageAdded().GetBlocks()
	require.Len(t, blocks, 3)
	require.Equal(t, "image", blocks[0].GetOther().GetType())
	require.JSONEq(t, `{"type":"image","source":{"a":1}}`, blocks[0].GetOther().GetJson())
	require.Equal(t, "7", blocks[1].GetOther().GetJson())
	require.Equal(t, "tool_use", blocks[2].GetOther().GetType())
	require.Equal(t, string(raw), out.payloads[0].GetMessageAdded().GetVerbatimJson())
}
