package claude

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
)

// requests are what was sent on to a server.
type requests struct {
	mu   sync.Mutex
	sent bytes.Buffer
}

func (r *requests) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sent.String()
}

// overhear returns a server that passes requests on to another one and keeps them.
func overhear(t *testing.T, to string) (string, *requests) {
	t.Helper()
	target, err := url.Parse(to)
	require.NoError(t, err)
	kept := &requests{}
	proxy := httputil.NewSingleHostReverseProxy(target)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		kept.mu.Lock()
		kept.sent.Write(body)
		kept.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL, kept
}

func variable(name, value string) *executorv1.EnvironmentVariable {
	return &executorv1.EnvironmentVariable{Name: name, Value: value}
}

// Variables and instructions of a run's environment reach the agent; what decides
// where the model is, and with what credential, does not.
func TestRealEnvironment(t *testing.T) {
	opts, model := real(t, "[[bash:echo $COLOR and $ANTHROPIC_API_KEY.]]")
	modelURL, sent := overhear(t, model.URL)
	opts.BaseURL = modelURL
	opts.Environment = &executorv1.RunEnvironment{
		Variables: []*executorv1.EnvironmentVariable{
			variable("COLOR", "dark blue"), variable("ANTHROPIC_BASE_URL", "http://127.0.0.1:1"), variable("ANTHROPIC_API_KEY", "stolen"),
			variable("CLAUDE_CODE_USE_BEDROCK", "1"), variable("https_proxy", "http://127.0.0.1:1"), variable("HOME", "/"),
			variable("NODE_OPTIONS", "--inspect"),
		},
		Instructions: []*executorv1.Instructions{{Text: "Always speak of pears."}, {Text: "Never of plums."}},
	}
	r := &recorder{}
	requireStatus(t, completed, 0, New(opts, r).Run(t.Context()))
	require.Contains(t, r.results(), "dark blue and .")
	require.Contains(t, sent.String(), `Always speak of pears.\n\nNever of plums.`)
	require.Equal(t, []string{runToken}, model.Stats().Tokens)
	require.Equal(t, "Poco decides these variables itself, so they are not taken from the run's environment: "+
		"ANTHROPIC_BASE_URL, ANTHROPIC_API_KEY, CLAUDE_CODE_USE_BEDROCK, https_proxy, HOME, NODE_OPTIONS", r.notice("variables_ignored"))
}

// Each transport of an MCP server is used as it was resolved.
func TestRealMCPTransports(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	opts, _ := real(t, "hello [[text]]")
	asked := make(map[string]http.Header)
	var mu sync.Mutex
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if how := r.Method + r.URL.Path; asked[how] == nil {
			asked[how] = r.Header
		}
		w.WriteHeader(http.StatusTeapot)
	}))
	t.Cleanup(server.Close)
	opts.Environment = &executorv1.RunEnvironment{McpServers: []*executorv1.McpServerConfig{
		{Name: "local", Transport: &executorv1.McpServerConfig_Stdio{Stdio: &executorv1.McpStdio{
			Command: "sh", Args: []string{"-c", `echo "$WORD $1" >started; cat`, "sh", "an argument"}, Env: map[string]string{"WORD": "a word and"},
		}}},
		{Name: "http", Transport: &executorv1.McpServerConfig_Http{Http: &executorv1.McpHttp{
			Url: server.URL + "/http", Headers: map[string]string{"X-Key": "for http"},
		}}},
		{Name: "sse", Transport: &executorv1.McpServerConfig_Sse{Sse: &executorv1.McpSse{
			Url: server.URL + "/sse", Headers: map[string]string{"X-Key": "for sse"},
		}}},
	}}
	r := &recorder{}
	requireStatus(t, completed, 0, New(opts, r).Run(t.Context()))
	started, err := os.ReadFile(filepath.Join(opts.Dir, "started"))
	require.NoError(t, err)
	require.Equal(t, "a word and an argument\n", string(started))
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, "for http", asked["POST/http"].Get("X-Key"))
	require.Equal(t, "for sse", asked["GET/sse"].Get("X-Key"))
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "poco-claude-*"))
	require.NoError(t, err)
	require.Empty(t, left, "what may hold secrets is removed")
}
