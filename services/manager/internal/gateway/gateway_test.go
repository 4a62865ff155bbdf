package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/rpcerror"
	"github.com/poco-ai/poco/services/manager/internal/gateway"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	runToken  = "pmt_run.1.mac"
	realToken = "the-real-credential"
)

type fixture struct {
	server *httptest.Server
	log    *bytes.Buffer
	// letGo lets go of the run, for the reason that the token is refused with from then on.
	letGo  context.CancelCauseFunc
	reject error
}

func newFixture(t *testing.T, upstream, token string) *fixture {
	return newFixtureWithKey(t, upstream, token, "")
}

func newFixtureWithKey(t *testing.T, upstream, token, key string) *fixture {
	return newFixtureOf(t, gateway.Anthropic, upstream, token, key)
}

func newFixtureOf(t *testing.T, api gateway.API, upstream, token, key string) *fixture {
	held, letGo := context.WithCancelCause(t.Context())
	f := &fixture{log: &bytes.Buffer{}, letGo: letGo}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	g, err := gateway.New(gateway.Options{
		API: api, BaseURL: upstream, Token: config.NewSecret(token), APIKey: config.NewSecret(key), Transport: transport,
		Logger: slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Registerer: prometheus.NewRegistry(),
		Verify: func(token string) (context.Context, error) {
			switch {
			case f.reject != nil:
				return nil, f.reject
			case token != runToken:
				return nil, rpcerror.Unauthenticated("no")
			case held.Err() != nil:
				return nil, context.Cause(held)
			}
			return held, nil
		},
	})
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle(api.Prefix+"/", g)
	f.server = httptest.NewServer(mux)
	t.Cleanup(f.server.Close)
	return f
}

func (f *fixture) post(t *testing.T, path string, header http.Header) *http.Response {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.server.URL+path, strings.NewReader(`{"prompt":"private words"}`))
	require.NoError(t, err)
	for k, v := range header {
		req.Header[k] = v
	}
	resp, err := f.server.Client().Do(req)
	require.NoError(t, err)
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

// failure decodes an error the way the CLI does.
func failure(t *testing.T, resp *http.Response) (kind, message string) {
	var body struct {
		Type  string
		Error struct{ Type, Message string }
	}
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&body))
	require.Equal(t, "error", body.Type)
	return body.Error.Type, body.Error.Message
}

func TestTheTokenIsSwapped(t *testing.T) {
	var got *http.Request
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		w.Header().Set("Set-Cookie", "a=b")
		_, _ = io.Copy(w, r.Body)
	}))
	defer upstream.Close()
	f := newFixture(t, upstream.URL+"/base/", realToken)
	for _, header := range []http.Header{bearer(runToken), {"X-Api-Key": {runToken}}} {
		header.Set("Anthropic-Version", "2023-06-01")
		header.Set("X-Forwarded-For", "10.0.0.1")
		header.Set("Cookie", "secret=1")
		resp := f.post(t, "/model/v1/messages?beta=true", header)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.JSONEq(t, `{"prompt":"private words"}`, string(body))
		require.Equal(t, "/base/v1/messages?beta=true", got.URL.String())
		require.Equal(t, "Bearer "+realToken, got.Header.Get("Authorization"))
		require.Equal(t, "2023-06-01", got.Header.Get("Anthropic-Version"))
		for _, name := range []string{"X-Api-Key", "X-Forwarded-For", "Cookie"} {
			require.Empty(t, got.Header.Get(name), name)
		}
		require.Equal(t, strings.TrimPrefix(upstream.URL, "http://"), got.Host)
		require.Empty(t, resp.Header.Get("Set-Cookie"))
	}
	f.server.Close() // nothing is logged any more
	for _, secret := range []string{realToken, runToken, "private words"} {
		require.NotContains(t, f.log.String(), secret)
	}
}

func TestConsoleKeysGoIntoTheirOwnHeader(t *testing.T) {
	var got http.Header
	upstream := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header }))
	defer upstream.Close()
	f := newFixture(t, upstream.URL, "sk-ant-api03-x")
	f.post(t, "/model/v1/messages", bearer(runToken))
	require.Equal(t, "sk-ant-api03-x", got.Get("X-Api-Key"))
	require.Empty(t, got.Get("Authorization"))
}

// A key is sent as a key, whatever it looks like: gateways of others make their
// own. With a token it is not used.
func TestTheAPIKeyStandsInForTheToken(t *testing.T) {
	var got http.Header
	upstream := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header }))
	defer upstream.Close()
	f := newFixtureWithKey(t, upstream.URL, "", "a-key-of-some-gateway")
	f.post(t, "/model/v1/messages", bearer(runToken))
	require.Equal(t, "a-key-of-some-gateway", got.Get("X-Api-Key"))
	require.Empty(t, got.Get("Authorization"))

	f = newFixtureWithKey(t, upstream.URL, realToken, "a-key-of-some-gateway")
	f.post(t, "/model/v1/messages", bearer(runToken))
	require.Equal(t, "Bearer "+realToken, got.Get("Authorization"))
	require.Empty(t, got.Get("X-Api-Key"))
}

func TestStreamsPieceByPiece(t *testing.T) {
	next := make(chan string)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		for piece := range next {
			_, _ = io.WriteString(w, piece)
			w.(http.Flusher).Flush()
		}
	}))
	defer upstream.Close()
	f := newFixture(t, upstream.URL, realToken)
	go func() { next <- "event: one\n" }()
	resp := f.post(t, "/model/v1/messages", bearer(runToken))
	lines := bufio.NewReader(resp.Body)
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "event: one\n", line, "arrives before the answer is complete")
	next <- "event: two\n"
	line, err = lines.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "event: two\n", line)
	close(next)
}

func TestTheTokenDiesWithTheRun(t *testing.T) {
	begun := make(chan struct{})
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		close(begun)
		<-r.Context().Done()
	}))
	defer upstream.Close()
	f := newFixture(t, upstream.URL, realToken)
	resp := f.post(t, "/model/v1/messages", bearer(runToken))
	<-begun
	f.letGo(rpcerror.NotFound("run", "run"))
	_, err := io.ReadAll(resp.Body)
	require.Error(t, err, "a call in flight is cut")
	resp = f.post(t, "/model/v1/messages", bearer(runToken))
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	kind, _ := failure(t, resp)
	require.Equal(t, "authentication_error", kind)
}

// A call in flight is answered like the next one: when the manager stops and
// leaves the run to its next start, the agent tries again.
func TestCallsInFlightWhenTheRunIsLetGo(t *testing.T) {
	begun := make(chan struct{})
	upstream := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		begun <- struct{}{}
		<-r.Context().Done()
	}))
	defer upstream.Close()
	for name, c := range map[string]struct {
		cause  error
		status int
		kind   string
	}{
		"the run is over":   {cause: rpcerror.NotFound("run", "run"), status: http.StatusUnauthorized, kind: "authentication_error"},
		"the manager stops": {cause: rpcerror.Unavailable(backendv1.ErrorReason_ERROR_REASON_MANAGER_STOPPING, "x"), status: http.StatusServiceUnavailable, kind: "overloaded_error"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, upstream.URL, realToken)
			go func() { <-begun; f.letGo(c.cause) }()
			for range 2 { // in flight, and after
				resp := f.post(t, "/model/v1/messages", bearer(runToken))
				require.Equal(t, c.status, resp.StatusCode)
				kind, _ := failure(t, resp)
				require.Equal(t, c.kind, kind)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("must not be called") }))
	defer upstream.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for name, c := range map[string]struct {
		upstream, path, runToken, realToken string
		reject                              error
		status                              int
		kind, says                          string
	}{
		"no token":          {path: "/model/v1/messages", realToken: realToken, status: 401, kind: "authentication_error", says: "the token is not valid"},
		"wrong token":       {path: "/model/v1/messages", runToken: "x", realToken: realToken, status: 401, kind: "authentication_error", says: "the token is not valid"},
		"no credential":     {path: "/model/v1/messages", runToken: runToken, status: 401, kind: "authentication_error", says: "neither ANTHROPIC_AUTH_TOKEN nor ANTHROPIC_API_KEY is set"},
		"another path":      {path: "/model/admin", runToken: runToken, realToken: realToken, status: 404, kind: "not_found_error", says: "messages"},
		"the manager waits": {path: "/model/v1/messages", runToken: runToken, realToken: realToken, reject: rpcerror.Unavailable(backendv1.ErrorReason_ERROR_REASON_MANAGER_STOPPING, "x"), status: 503, kind: "overloaded_error", says: "starting"},
		"API away":          {upstream: gone.URL, path: "/model/v1/messages", runToken: runToken, realToken: realToken, status: 502, kind: "api_error", says: "cannot be reached"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.upstream == "" {
				c.upstream = upstream.URL
			}
			f := newFixture(t, c.upstream, c.realToken)
			f.reject = c.reject
			header := http.Header{}
			if c.runToken != "" {
				header = bearer(c.runToken)
			}
			resp := f.post(t, c.path, header)
			require.Equal(t, c.status, resp.StatusCode)
			kind, message := failure(t, resp)
			require.Equal(t, c.kind, kind)
			require.Contains(t, message, c.says)
			require.NotContains(t, message, realToken)
		})
	}
}

func TestOnlyAnAgentsCallsPass(t *testing.T) {
	for name, c := range map[string]struct {
		api          gateway.API
		pass, refuse []string
	}{
		"Anthropic": {
			api: gateway.Anthropic,
			pass: []string{
				"POST /model/v1/messages?beta=true", "POST /model/v1/messages/count_tokens", "GET /model/v1/models?limit=5", "GET /model/v1/models/claude-x.1",
			},
			refuse: []string{
				"GET /model/v1/messages", "DELETE /model/v1/models/x", "POST /model/v1/messages/batches", "GET /model/v1/messages/batches",
				"GET /model/v1/files", "DELETE /model/v1/files/x", "POST /model/v1/files", "GET /model/v1/organizations/api_keys",
				"GET /model/v1/models/..%2ffiles", "GET /model/v1/models/..", "GET /model/v1/models/%2e%2e/files", "POST /model/v1//messages/batches",
				"POST /model/v1/messages/", "POST /model/v1/messages%2fbatches", "POST /model/v1", "POST /model/",
			},
		},
		"OpenAI": {
			api:  gateway.OpenAI,
			pass: []string{"POST /model/openai/responses", "POST /model/openai/responses/compact", "POST /model/openai/chat/completions", "GET /model/openai/models"},
			refuse: []string{
				"GET /model/openai/responses/resp_1", "DELETE /model/openai/responses/resp_1", "POST /model/openai/files", "GET /model/openai/files",
				"POST /model/openai/batches", "POST /model/openai/fine_tuning/jobs", "GET /model/openai/models/..%2ffiles", "GET /model/openai/organization/users",
				"POST /model/openai/responses/", "POST /model/openai", "POST /model/openai/../openai/files",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			upstream := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				got = append(got, r.Method+" "+r.URL.String())
			}))
			defer upstream.Close()
			f := newFixtureOf(t, c.api, upstream.URL, "", realToken)
			call := func(line string) int {
				method, target, _ := strings.Cut(line, " ")
				req, err := http.NewRequestWithContext(t.Context(), method, f.server.URL+target, nil)
				require.NoError(t, err)
				req.Header = bearer(runToken)
				client := *f.server.Client()
				client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
				resp, err := client.Do(req)
				require.NoError(t, err)
				require.NoError(t, resp.Body.Close())
				return resp.StatusCode
			}
			for _, line := range c.pass {
				require.Equal(t, http.StatusOK, call(line), line)
				require.Equal(t, strings.Replace(line, c.api.Prefix, "", 1), got[len(got)-1])
			}
			passed := len(got)
			for _, line := range c.refuse {
				require.NotEqual(t, http.StatusOK, call(line), line)
			}
			require.Len(t, got, passed, "%v", got[passed:])
		})
	}
}

// TestOpenAIsOwn: the key of an OpenAI-compatible service is swapped in, its own
// errors pass as they are, and what answers in its place is told as that.
func TestOpenAIsOwn(t *testing.T) {
	const refused = `{"error":{"message":"Incorrect API key","type":"invalid_request_error","code":"invalid_api_key"}}`
	status, media, body := http.StatusOK, "text/event-stream", "data: {}\n\n"
	var got *http.Request
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		w.Header().Set("Content-Type", media)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	defer upstream.Close()
	f := newFixtureOf(t, gateway.OpenAI, upstream.URL+"/v1", "", realToken)
	ask := func() (int, string) {
		resp := f.post(t, "/model/openai/responses", bearer(runToken))
		said, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(said)
	}
	code, said := ask()
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, body, said)
	require.Equal(t, "/v1/responses", got.URL.Path)
	require.Equal(t, "Bearer "+realToken, got.Header.Get("Authorization"))

	status, media, body = http.StatusUnauthorized, "application/json", refused
	code, said = ask()
	require.Equal(t, http.StatusUnauthorized, code)
	require.JSONEq(t, refused, said)

	status, media, body = http.StatusForbidden, "text/html", page
	code, said = ask()
	require.Equal(t, http.StatusFailedDependency, code)
	require.Contains(t, said, "no answer of the model API")

	status, media, body = http.StatusNotFound, "text/plain", "no such thing"
	_, said = ask()
	require.Contains(t, said, "check OPENAI_BASE_URL")

	f = newFixtureOf(t, gateway.OpenAI, upstream.URL, "", "")
	code, said = ask()
	require.Equal(t, http.StatusUnauthorized, code)
	require.Contains(t, said, "OPENAI_API_KEY is not set")
}
