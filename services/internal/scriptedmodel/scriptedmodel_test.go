package scriptedmodel

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type request map[string]any

func newRequest(messages ...any) request {
	return request{
		"model": "m", "max_tokens": 100, "messages": messages, "stream": false,
		"tools":  []any{map[string]any{"name": "Bash"}},
		"system": "# Environment\n - Primary working directory: /workspace\n",
	}
}

func say(role string, content any) map[string]any {
	return map[string]any{"role": role, "content": content}
}

func toolResult(id, content string) map[string]any {
	return map[string]any{"type": "tool_result", "tool_use_id": id, "content": content}
}

func start(t *testing.T, opts Options) *Server {
	t.Helper()
	s, err := Start(context.Background(), "127.0.0.1:0", opts)
	require.NoError(t, err)
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		require.NoError(t, s.Close())
	})
	return s
}

func post(t *testing.T, s *Server, token string, body request) (int, string) {
	t.Helper()
	data, err := json.Marshal(body)
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/v1/messages", bytes.NewReader(data))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Anthropic-Version", "2023-06-01")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	answer, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode, string(answer)
}

// play answers every tool call with the given results and returns all answers.
func play(t *testing.T, s *Server, prompt string, results func(tool string) string) []map[string]any {
	t.Helper()
	messages := []any{say("user", prompt)}
	var answers []map[string]any
	for range 20 {
		status, body := post(t, s, "t", newRequest(messages...))
		require.Equal(t, http.StatusOK, status, body)
		var answer map[string]any
		require.NoError(t, json.Unmarshal([]byte(body), &answer))
		answers = append(answers, answer)
		messages = append(messages, say("assistant", answer["content"]))
		var answered []any
		for _, b := range answer["content"].([]any) {
			block := b.(map[string]any)
			if block["type"] == "tool_use" {
				answered = append(answered, toolResult(block["id"].(string), results(block["name"].(string))))
			}
		}
		if answered == nil {
			return answers
		}
		messages = append(messages, say("user", answered))
	}
	t.Fatal("the scenario does not end")
	return nil
}

func TestDemoUsesTheAnswerAndTheTaskIDs(t *testing.T) {
	s := start(t, Options{})
	task := 40
	answers := play(t, s, "show me [[demo]]", func(tool string) string {
		switch tool {
		case "TaskCreate":
			task++
			return "Task #" + string(rune('0'+task-40)) + "x created successfully: T"
		case "AskUserQuestion":
			return `Your questions have been answered: "Which language?"="German".`
		default:
			return "ok"
		}
	})
	all, err := json.Marshal(answers)
	require.NoError(t, err)
	require.Contains(t, string(all), `"taskId":"1x"`)
	require.Contains(t, string(all), `"taskId":"2x"`)
	require.Contains(t, string(all), `"file_path":"/workspace/greeting.sh"`)
	require.Contains(t, string(all), "You chose German")
	require.Equal(t, len(answers), s.Stats().Scenarios["demo"])
}

func TestStepComesFromTheHistory(t *testing.T) {
	s := start(t, Options{})
	use := map[string]any{"type": "tool_use", "id": "x", "name": "Bash", "input": map[string]any{}}
	cases := map[string]struct {
		messages []any
		want     string
	}{
		"no marker":    {[]any{say("user", "hi there")}, `hi there`},
		"unknown":      {[]any{say("user", "hi [[nosuch]]")}, `scripted model`},
		"first":        {[]any{say("user", "[[bash:echo 1]]")}, `"command":"echo 1"`},
		"second":       {[]any{say("user", "[[bash]]"), say("assistant", []any{use}), say("user", []any{toolResult("x", "one")})}, `printed: one`},
		"past the end": {[]any{say("user", "[[ask]]"), say("assistant", "a"), say("assistant", "b")}, `all there is`},
		"follow-up": {[]any{say("user", "apples"), say("assistant", "a"), say("user", "[[memory]]")},
			`was: \"apples\". This is prompt number 2`},
		"reminders are no prompts": {[]any{say("user", []any{
			map[string]any{"type": "text", "text": "<system-reminder>[[ask]]</system-reminder>"},
			map[string]any{"type": "text", "text": "pears"},
		})}, `pears`},
		"after an interrupt": {[]any{say("user", "[[sleep]]"), say("assistant", []any{use}), say("user", []any{
			toolResult("x", "rejected"),
			map[string]any{"type": "text", "text": "[Request interrupted by user for tool use]"},
			map[string]any{"type": "text", "text": "[[think]]"},
		})}, `Let me think`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			status, body := post(t, s, "t", newRequest(c.messages...))
			require.Equal(t, http.StatusOK, status, body)
			require.Contains(t, body, c.want)
		})
	}
}

func TestErrors(t *testing.T) {
	s := start(t, Options{Token: "right"})
	prompt := func(p string) request { return newRequest(say("user", p)) }

	status, _ := post(t, s, "wrong", prompt("x"))
	require.Equal(t, http.StatusUnauthorized, status)
	status, _ = post(t, s, "right", prompt("[[error401]]"))
	require.Equal(t, http.StatusUnauthorized, status)
	for _, want := range []int{529, 200, 200} {
		status, _ = post(t, s, "right", prompt("[[overload529]]"))
		require.Equal(t, want, status)
	}
	status, body := post(t, s, "right", newRequest(
		say("user", "x"),
		say("assistant", []any{map[string]any{"type": "tool_use", "id": "x", "name": "Bash", "input": map[string]any{}}}),
		say("user", "y"),
	))
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, body, "without tool_result")

	stats := s.Stats()
	require.Equal(t, 1, stats.Unauthorized)
	require.Equal(t, []string{"wrong", "right"}, stats.Tokens)
	require.Len(t, stats.Invalid, 1)
}

func TestStreamHasAllEvents(t *testing.T) {
	s := start(t, Options{})
	body := newRequest(say("user", "[[nul]]"), say("assistant", "one"))
	body["stream"] = true
	status, stream := post(t, s, "t", body)
	require.Equal(t, http.StatusOK, status)
	for _, event := range []string{"message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop"} {
		require.Contains(t, stream, "event: "+event+"\n")
	}
	require.Contains(t, stream, `\ud83d`, "half a surrogate must arrive as it is written")
}

func TestGateHoldsTheAnswerBack(t *testing.T) {
	s := start(t, Options{})
	body := newRequest(say("user", "[[gate:here]]"), say("assistant", "one"))
	released := make(chan struct{})
	go func() {
		defer close(released)
		<-s.Arrived("here") // Only a request that waits gets here.
		s.Release("here")
	}()
	_, answer := post(t, s, "t", body)
	require.Contains(t, answer, "Behind the gate.")
	<-released
}

func TestAuxiliaryRequests(t *testing.T) {
	s := start(t, Options{})
	body := newRequest(say("user", "[[demo]]"))
	body["tools"] = []any{}
	status, answer := post(t, s, "t", body)
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, answer, "title")
	require.Equal(t, 1, s.Stats().Auxiliary)
	require.Zero(t, s.Stats().Messages)
}

func TestPieces(t *testing.T) {
	s := "one two three four five six seven eight"
	require.Equal(t, s, strings.Join(pieces(s), ""))
	require.Greater(t, len(pieces(s)), 1)
	require.Empty(t, pieces(""))
}

// What the CLI sends when it was killed in the middle of a turn: the calls that
// were not answered are gone, what was said before them is not.
func TestContinueGoesOnWithTheScenario(t *testing.T) {
	s := start(t, Options{Scenarios: []Scenario{{Name: "two", Turns: []Turn{
		turn(text("First."), bash("one", "first")),
		turn(text("Second."), bash("two", "second")),
		turn(text("Both.")),
	}}}})
	use := func(id string) map[string]any {
		return map[string]any{"type": "tool_use", "id": id, "name": "Bash", "input": map[string]any{}}
	}
	prompt, goOn := say("user", "Do it. [[two]]"), say("user", "Continue from where you left off.")
	first := []any{say("assistant", []any{map[string]any{"type": "text", "text": "First."}, use("a")}), say("user", []any{toolResult("a", "1")})}
	for name, c := range map[string]struct {
		history []any
		want    string
	}{
		"nothing was said":       {[]any{prompt, goOn}, `"command":"one"`},
		"cut off in the first":   {[]any{prompt, say("assistant", "First."), goOn}, `"command":"one"`},
		"after the first":        {append(append([]any{prompt}, first...), goOn), `"command":"two"`},
		"cut off in the second":  {append(append([]any{prompt}, first...), say("assistant", "Second."), goOn), `"command":"two"`},
		"broken off in a text":   {append(append([]any{prompt}, first...), say("assistant", "Sec"), say("user", "Something broke. Continue from where you left off.")), `"command":"two"`},
		"answered by the CLI":    {append(append([]any{prompt}, first...), goOn, say("assistant", "No response requested."), goOn), `"command":"two"`},
		"cut off, and answered":  {append(append([]any{prompt}, first...), say("assistant", "Sec"), goOn, say("assistant", "No response requested."), goOn), `"command":"two"`},
		"nothing to go on with":  {[]any{goOn}, "Hello!"},
		"a prompt of its own":    {append(append([]any{prompt}, first...), say("user", "Continue. [[two]]")), `"command":"one"`},
		"no word of its own yet": {append(append([]any{prompt}, first...), say("user", "Continued fractions?")), "Hello!"},
	} {
		t.Run(name, func(t *testing.T) {
			status, body := post(t, s, "t", newRequest(c.history...))
			require.Equal(t, http.StatusOK, status, body)
			require.Contains(t, body, c.want)
		})
	}
}
