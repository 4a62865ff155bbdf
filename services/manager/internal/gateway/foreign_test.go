package gateway_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

const page = "<html><head><title>Blocked by\n Example &amp; Sons</title></head><body>No.</body></html>"

// TestWhoseAnswerItIs plays what may answer in the model API's place.
func TestWhoseAnswerItIs(t *testing.T) {
	const own = `{"type":"error","error":{"type":"permission_error","message":"not yours"}}`
	for name, c := range map[string]struct {
		status      int
		media, body string
		header      http.Header
		want        int
		kind, says  string
	}{
		"the API's 401":             {status: 401, media: "application/json", body: `{"type":"error","error":{"type":"authentication_error","message":"bad key"}}`, want: 401, kind: "authentication_error", says: "bad key"},
		"the API's 403":             {status: 403, media: "application/json", body: own, want: 403, kind: "permission_error", says: "not yours"},
		"the API's 529":             {status: 529, media: "application/json", body: `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`, want: 529, kind: "overloaded_error", says: "Overloaded"},
		"a firewall's page":         {status: 403, media: "text/html", body: page, header: http.Header{"Server": {"squid/6"}}, want: 424, kind: "api_error", says: `HTTP 403 with a page titled "Blocked by Example & Sons" (Server: squid/6), which is no answer of the model API: a proxy or firewall`},
		"a firewall's JSON":         {status: 403, media: "application/json", body: `{"message":"Forbidden"}`, want: 424, kind: "api_error", says: `the message "Forbidden"`},
		"a firewall's text":         {status: 403, media: "text/plain", body: "denied", want: 424, kind: "api_error", says: `the text "denied"`},
		"a firewall without a word": {status: 403, want: 424, kind: "api_error", says: "an empty answer"},
		"a page that wants a login": {status: 401, media: "text/html", body: page, want: 424, kind: "api_error", says: "HTTP 401"},
		"another API's 401":         {status: 401, media: "application/json", body: `{"error":{"message":"Incorrect API key"}}`, want: 401, kind: "authentication_error", says: "Incorrect API key"},
		"a proxy's 407":             {status: 407, media: "text/html", body: page, header: http.Header{"Proxy-Authenticate": {"Basic"}}, want: 424, kind: "api_error", says: "HTTP 407"},
		"a sign-in page":            {status: 200, media: "text/html; charset=utf-8", body: page, want: 424, kind: "api_error", says: "sign in"},
		"a wrong address":           {status: 404, media: "application/json", body: `{"detail":"Not Found"}`, want: 424, kind: "api_error", says: "check ANTHROPIC_BASE_URL"},
		"a balancer's 502":          {status: 502, media: "text/html", body: page, want: 502, kind: "api_error", says: "Blocked by"},
		"a balancer's 429":          {status: 429, media: "text/plain", body: "slow down", want: 429, kind: "api_error", says: "slow down"},
	} {
		t.Run(name, func(t *testing.T) {
			upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for key, values := range c.header {
					w.Header()[key] = values
				}
				w.Header().Set("Content-Type", c.media)
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			}))
			defer upstream.Close()
			resp := newFixture(t, upstream.URL, realToken).post(t, "/model/v1/messages", bearer(runToken))
			require.Equal(t, c.want, resp.StatusCode)
			kind, message := failure(t, resp)
			require.Equal(t, c.kind, kind)
			require.Contains(t, message, c.says)
		})
	}
}

// Another API's errors are its own to word.
func TestAnswersThatPass(t *testing.T) {
	const body = `{"error":{"message":"the context is too long"}}`
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Header.Get("Accept-Encoding") != "identity" {
			t.Error("an answer that is compressed cannot be judged")
		}
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, body)
	}))
	defer upstream.Close()
	resp := newFixture(t, upstream.URL, realToken).post(t, "/model/v1/messages", bearer(runToken))
	require.Equal(t, http.StatusBadRequest, resp.StatusCode)
	got, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.JSONEq(t, body, string(got))
}

// A redirect is followed by nobody: not by the gateway, with the real
// credential, nor by the CLI, with its run's.
func TestRedirectsEndHere(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("must not be called") }))
	defer elsewhere.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+"/login?secret=1", status)
		}))
		resp := newFixture(t, upstream.URL, realToken).post(t, "/model/v1/messages", bearer(runToken))
		require.Equal(t, http.StatusFailedDependency, resp.StatusCode)
		require.Empty(t, resp.Header.Get("Location"))
		_, message := failure(t, resp)
		require.Contains(t, message, elsewhere.URL+"/login")
		require.NotContains(t, message, "secret")
		upstream.Close()
	}
}

func TestWhyTheAPICannotBeReached(t *testing.T) {
	untrusted := httptest.NewTLSServer(http.NotFoundHandler())
	defer untrusted.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	plainURL, err := url.Parse(plain.URL)
	require.NoError(t, err)
	for name, c := range map[string]struct{ upstream, says string }{
		"no such name": {"http://poco.invalid", "check ANTHROPIC_BASE_URL and the name server"},
		"not trusted":  {untrusted.URL, "SSL_CERT_FILE"},
		"no TLS":       {"https://" + plainURL.Host, "no TLS is spoken there"},
	} {
		t.Run(name, func(t *testing.T) {
			resp := newFixture(t, c.upstream, realToken).post(t, "/model/v1/messages", bearer(runToken))
			require.Equal(t, http.StatusFailedDependency, resp.StatusCode)
			_, message := failure(t, resp)
			require.Contains(t, message, c.says)
		})
	}
}
