package scriptedmodel_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/scriptedmodel"
)

// TestProtocols plays one scenario, a command and what it printed, in the model
// APIs of other agents, with the tools that those have.
func TestProtocols(t *testing.T) {
	for name, c := range map[string]struct {
		path, first, second string
		calls, errors       string
	}{
		"Chat Completions": {
			path: "/v1/chat/completions",
			first: `{"model":"m","stream":true,"tools":[{"type":"function","function":{"name":"bash"}}],"messages":[
				{"role":"system","content":"Be good."},{"role":"user","content":[{"type":"text","text":"[[bash:echo hi]]"}]}]}`,
			second: `{"model":"m","stream":true,"tools":[{"type":"function","function":{"name":"bash"}}],"messages":[
				{"role":"user","content":"[[bash:echo hi]]"},{"role":"assistant","content":"Running.","tool_calls":[{"id":"c","function":{"name":"bash","arguments":"{}"}}]},
				{"role":"tool","tool_call_id":"c","content":"hi"}]}`,
			calls: `"arguments":"{\"command\":\"echo hi\",\"description\":\"run the command\"}","name":"bash"`, errors: `{"error":{"code":"authentication_error"`,
		},
		"Responses": {
			path: "/v1/responses",
			first: `{"model":"m","stream":true,"tools":[{"type":"function","name":"exec_command"}],"input":[
				{"type":"message","role":"user","content":[{"type":"input_text","text":"[[bash:echo hi]]"}]}]}`,
			second: `{"model":"m","stream":true,"tools":[{"type":"function","name":"exec_command"}],"input":[
				{"type":"message","role":"user","content":[{"type":"input_text","text":"[[bash:echo hi]]"}]},
				{"type":"message","role":"assistant","content":[{"type":"output_text","text":"Running."}]},
				{"type":"function_call","call_id":"c","name":"exec_command","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":"hi"}]}`,
			calls: `"call_id":"call_bash_811c9dc5_0_1"`, errors: `{"error":{"code":"authentication_error"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			model, err := scriptedmodel.Start(t.Context(), "127.0.0.1:0", scriptedmodel.Options{Token: "secret"})
			require.NoError(t, err)
			defer model.Close()
			ask := func(token, body string) string {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, model.URL+c.path, strings.NewReader(body))
				require.NoError(t, err)
				req.Header.Set("Authorization", "Bearer "+token)
				resp, err := http.DefaultClient.Do(req)
				require.NoError(t, err)
				defer resp.Body.Close()
				answer, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				return string(answer)
			}
			require.Contains(t, ask("wrong", c.first), c.errors)
			require.Contains(t, ask("secret", c.first), c.calls)
			require.Contains(t, ask("secret", c.second), "The command ")
			require.Equal(t, map[string]int{"bash": 2}, model.Stats().Scenarios)
			require.Empty(t, model.Stats().Invalid)
		})
	}
}
