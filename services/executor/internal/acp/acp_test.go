package acp

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/executor/internal/agent"
)

// sink keeps what an agent reports. Its room is given by the test.
type sink struct {
	mu       sync.Mutex
	payloads []*executorv1.RunEventPayload
	room     chan struct{}
}

func (s *sink) Emit(p *executorv1.RunEventPayload) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.payloads = append(s.payloads, p)
}
func (s *sink) Partial(*backendv1.PartialContent) {}
func (s *sink) FilesMayHaveChanged()              {}
func (s *sink) Room() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.room == nil {
		return nil
	}
	return s.room
}

func (s *sink) texts() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var texts []string
	for _, p := range s.payloads {
		for _, b := range p.GetMessageAdded().GetBlocks() {
			texts = append(texts, b.GetText().GetText())
		}
	}
	return strings.Join(texts, "|")
}

// What a fake agent answers, in the order of the requests.
const (
	hello   = `{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":1,"agentCapabilities":{},"authMethods":[]}}`
	opened  = `{"jsonrpc":"2.0","id":2,"result":{"sessionId":"s","modes":{"availableModes":[],"currentModeId":"auto"}}}`
	modeSet = `{"jsonrpc":"2.0","id":3,"result":{}}`
	ended   = `{"jsonrpc":"2.0","id":4,"result":{"stopReason":"end_turn"}}`
)

// fake is a driver of a program that reads a request and prints what comes next. Each
// answer may be several lines.
func fake(t *testing.T, answers ...string) *Driver {
	t.Helper()
	script := "#!/bin/sh\n"
	for _, answer := range answers {
		script += "read -r request\ncat <<'EOF'\n" + answer + "\nEOF\n"
	}
	path := filepath.Join(t.TempDir(), "agent")
	require.NoError(t, os.WriteFile(path, []byte(script+"cat > /dev/null\n"), 0o755))
	return &Driver{
		name: "codex", mode: "full", program: func() (string, error) { return path, nil },
		command: func(*agent.Task) (args, env []string) { return nil, nil },
	}
}

func runFake(t *testing.T, s *sink, d *Driver) agent.Outcome {
	t.Helper()
	return newFake(t, s, d).Run(t.Context())
}

func newFake(t *testing.T, s *sink, d *Driver) agent.Agent {
	t.Helper()
	a, err := d.New(agent.Task{Dir: t.TempDir(), StateDir: t.TempDir(), HomeDir: t.TempDir(), Prompt: "p", PromptID: "id", IdleTimeout: time.Minute}, s)
	require.NoError(t, err)
	return a
}

func TestHowItMayNotBegin(t *testing.T) {
	const protocol = backendv1.RunReason_RUN_REASON_AGENT_PROTOCOL_ERROR
	for name, c := range map[string]struct {
		answers []string
		reason  backendv1.RunReason
		says    string
	}{
		"another version of the protocol": {answers: []string{strings.Replace(hello, `"protocolVersion":1`, `"protocolVersion":2`, 1)}, reason: protocol, says: "version 2"},
		"no modes to set":                 {answers: []string{hello, `{"jsonrpc":"2.0","id":2,"result":{"sessionId":"s"}}`}, reason: protocol, says: `"full" cannot be set`},
		"a mode that it refuses": {
			answers: []string{hello, opened, `{"jsonrpc":"2.0","id":3,"error":{"code":-32602,"message":"no such mode"}}`}, reason: protocol, says: "no such mode",
		},
		"a login that is wanted": {
			answers: []string{hello, `{"jsonrpc":"2.0","id":2,"error":{"code":-32000,"message":"Authentication required"}}`},
			reason:  backendv1.RunReason_RUN_REASON_AUTHENTICATION_FAILED, says: "Authentication required",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &sink{}
			outcome := runFake(t, s, fake(t, c.answers...))
			require.Equal(t, c.reason, outcome.Reason, outcome.Message)
			require.Contains(t, outcome.Message, c.says)
			require.Empty(t, s.payloads, "it has not had the prompt")
		})
	}
}

func TestWhatItDoesNotKnow(t *testing.T) {
	s := &sink{}
	outcome := runFake(t, s, fake(t, hello, opened, modeSet, strings.Join([]string{
		`{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s","update":{"sessionUpdate":"of_tomorrow"}}}`,
		`{"jsonrpc":"2.0","method":"of/tomorrow","params":{}}`,
		`{"jsonrpc":"2.0","method":"session/update","params":7}`,
		`{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s","update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"still here"}}}}`,
		ended,
	}, "\n")))
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, outcome.Status, outcome.Message)
	require.Equal(t, "still here", s.texts())
}

// An agent that says more than can be taken is not read on, and not taken for silent.
func TestRoom(t *testing.T) {
	s := &sink{room: make(chan struct{})}
	d := fake(t, hello, opened, modeSet, `{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s","update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"heard"}}}}`+"\n"+ended)
	a, done := newFake(t, s, d), make(chan agent.Outcome)
	go func() { done <- a.Run(t.Context()) }()
	select {
	case outcome := <-done:
		t.Fatal("it went on without room: ", outcome.Message)
	case <-time.After(50 * time.Millisecond):
	}
	s.mu.Lock()
	close(s.room)
	s.room = nil
	s.mu.Unlock()
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, (<-done).Status)
	require.Equal(t, "heard", s.texts())
}

func TestStopReasons(t *testing.T) {
	for stop, reason := range map[string]backendv1.RunReason{
		"end_turn": 0, "max_tokens": backendv1.RunReason_RUN_REASON_AGENT_ERROR, "refusal": backendv1.RunReason_RUN_REASON_AGENT_ERROR,
		"max_turn_requests": backendv1.RunReason_RUN_REASON_MAX_TURNS, "cancelled": backendv1.RunReason_RUN_REASON_CANCELED,
		"of_tomorrow": backendv1.RunReason_RUN_REASON_AGENT_PROTOCOL_ERROR,
	} {
		outcome := runFake(t, &sink{}, fake(t, hello, opened, modeSet, strings.Replace(ended, "end_turn", stop, 1)))
		require.Equal(t, reason, outcome.Reason, "%s: %s", stop, outcome.Message)
	}
}

func TestPlansAndTools(t *testing.T) {
	tr := newTranslator()
	say := func(raw string) translation {
		u, err := readUpdate(json.RawMessage(`{"update":` + raw + `}`))
		require.NoError(t, err)
		return tr.update(u)
	}
	todos := say(`{"sessionUpdate":"plan","entries":[{"content":"one","status":"completed"},{"content":"two","status":"in_progress"}]}`).payloads[0].GetTodosChanged()
	require.Equal(t, "two", todos.GetCurrentStep())
	require.Len(t, todos.GetTodos(), 2)

	require.NotNil(t, say(`{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"I "}}`).partial)
	require.Empty(t, say(`{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"look."}}`).payloads)
	require.Empty(t, say(`{"sessionUpdate":"tool_call","toolCallId":"c","title":"read","kind":"read","status":"pending"}`).payloads, "nobody knows yet what")
	require.True(t, tr.busy())
	begun := say(`{"sessionUpdate":"tool_call_update","toolCallId":"c","status":"in_progress","title":"Read a.txt","rawInput":{"path":"a.txt"}}`).payloads
	require.Len(t, begun, 2)
	require.Equal(t, "I look.", begun[0].GetMessageAdded().GetBlocks()[0].GetText().GetText())
	use := begun[1].GetMessageAdded().GetBlocks()[0].GetToolUse()
	require.Equal(t, "read", use.GetName())
	require.Equal(t, "a.txt", use.GetInput().GetFields()["path"].GetStringValue())
	end := say(`{"sessionUpdate":"tool_call_update","toolCallId":"c","status":"failed","content":[{"type":"content","content":{"type":"text","text":"no such file"}}]}`)
	result := end.payloads[0].GetMessageAdded().GetBlocks()[0].GetToolResult()
	require.True(t, result.GetIsError())
	require.Equal(t, "no such file", result.GetContent())
	require.False(t, end.filesMayHaveChanged)
	require.False(t, tr.busy())
}

func TestForms(t *testing.T) {
	fields, err := readFields(json.RawMessage(`{
		"color":{"type":"string","title":"Which color?","description":"Color","oneOf":[{"const":"r","title":"Red"},{"const":"b","title":"Blue"}]},
		"color_note":{"type":"string","_meta":{"codex":{"role":"user_note","questionId":"color"}}},
		"toppings":{"type":"array","title":"Toppings?","items":{"enum":["ham","egg"]}},
		"sure":{"type":"boolean","title":"Sure?"},
		"name":{"type":"string","description":"Your name"}}`))
	require.NoError(t, err)
	q := question{fields: fields}
	asked := q.asked()
	require.Len(t, asked, 4)
	require.Equal(t, "Which color?", asked[0].GetQuestion())
	require.Equal(t, "Color", asked[0].GetHeader())
	require.True(t, asked[1].GetMultiSelect())
	require.Equal(t, "Your name", asked[3].GetQuestion())
	require.Equal(t, map[string]any{"color": "b", "color_note": "the dark one", "toppings": []string{"ham", "egg"}, "sure": true, "name": "Ann"}, q.content([]*backendv1.UserAnswer{
		{QuestionId: "color", Selected: []string{"Blue"}, OtherText: "the dark one"}, {QuestionId: "toppings", Selected: []string{"ham", "egg"}},
		{QuestionId: "sure", Selected: []string{"Yes"}}, {QuestionId: "name", OtherText: "Ann"},
	}))
}

// The note of a prompt is read from a folder that the agent can write.
func TestNotesOfPrompts(t *testing.T) {
	dir := t.TempDir()
	conversation, err := conversationOf(filepath.Join(dir, "none"), "p")
	require.NoError(t, err)
	require.Empty(t, conversation)
	require.NoError(t, keepPrompt(dir, "p", "c1"))
	require.NoError(t, keepPrompt(dir, "p", "c2"))
	conversation, err = conversationOf(dir, "p")
	require.NoError(t, err)
	require.Equal(t, "c2", conversation)
	require.NoError(t, os.Mkdir(filepath.Join(dir, promptsDirName, "q"), 0o755))
	_, err = conversationOf(dir, "q")
	require.Error(t, err)
}
