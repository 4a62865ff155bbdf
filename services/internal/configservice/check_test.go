package configservice_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/prototext"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/config/peers"
	"github.com/poco-ai/poco/services/internal/testkit"
)

// check asks a service about its peers, as a stranger.
func check(t *testing.T, r running) []*configv1.PeerReport {
	t.Helper()
	resp, err := dial(t, r.url).CheckPeers(t.Context(), &configv1.CheckPeersRequest{})
	require.NoError(t, err)
	require.NotContains(t, prototext.Format(resp), "marker")
	require.NotContains(t, prototext.Format(resp), "127.0.0.1", "an address is a value, too")
	return resp.GetPeers()
}

// results are the outcomes by variable, that of the versions under "version".
func results(report *configv1.PeerReport) map[string]string {
	out := map[string]string{}
	for _, c := range report.GetChecks() {
		name := c.GetEnv()
		if name == "" {
			name = "version"
		}
		out[name] = strings.TrimPrefix(c.GetResult().String(), "PEER_RESULT_")
	}
	return out
}

func TestCheckPeers(t *testing.T) {
	agreed := map[string]string{
		"version": "EQUAL", "APP_ENV": "EQUAL", "INTERNAL_API_TOKEN": "EQUAL", "S3_ENDPOINT": "EQUAL", "S3_ACCESS_KEY": "TOO_SHORT",
		"S3_SECRET_KEY": "EQUAL", "S3_BUCKET": "EQUAL", "S3_REGION": "EQUAL", "S3_FORCE_PATH_STYLE": "EQUAL", "USER_INPUT_TIMEOUT_SECONDS": "EQUAL",
	}
	for name, c := range map[string]struct {
		backend map[string]string
		changed map[string]string
	}{
		"agree":            {nil, nil},
		"different tokens": {map[string]string{"INTERNAL_API_TOKEN": otherOne}, map[string]string{"INTERNAL_API_TOKEN": "DIFFERENT"}},
		"different bucket": {map[string]string{"S3_BUCKET": "marker-bucket-2"}, map[string]string{"S3_BUCKET": "DIFFERENT"}},
		"short secret":     {map[string]string{"S3_SECRET_KEY": "marker-short"}, map[string]string{"S3_SECRET_KEY": "TOO_SHORT"}},
		"spelled otherwise": {map[string]string{
			"S3_ENDPOINT": "http://Marker-S3:9000/", "S3_FORCE_PATH_STYLE": "yes", "USER_INPUT_TIMEOUT_SECONDS": "1800.0",
		}, nil},
		"much": {map[string]string{
			"S3_REGION": "marker-region", "S3_FORCE_PATH_STYLE": "false", "USER_INPUT_TIMEOUT_SECONDS": "60", "S3_ENDPOINT": "http://marker-other:9000",
		}, map[string]string{
			"S3_REGION": "DIFFERENT", "S3_FORCE_PATH_STYLE": "DIFFERENT", "USER_INPUT_TIMEOUT_SECONDS": "DIFFERENT", "S3_ENDPOINT": "DIFFERENT",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			want := map[string]string{}
			for k, v := range agreed {
				want[k] = v
				if changed, ok := c.changed[k]; ok {
					want[k] = changed
				}
			}
			listener := testkit.Listener(t)
			backend := serve(t, "backend", withEnv(c.backend, "EXECUTOR_MANAGER_URL", "http://"+listener.Addr().String()))
			manager := serveOn(t, listener, "manager", map[string]string{"BACKEND_URL": backend.url, "CALLBACK_BASE_URL": "http://" + listener.Addr().String()})

			peers := check(t, manager)
			require.Len(t, peers, 2)
			require.Equal(t, []string{"backend", "BACKEND_URL", "", "true"}, describe(peers[0]))
			require.Equal(t, want, results(peers[0]))
			require.Equal(t, []string{"manager", "", "", "true"}, describe(peers[1]))
			require.Equal(t, map[string]string{"CALLBACK_BASE_URL": "EQUAL"}, results(peers[1]))

			peers = check(t, backend)
			require.Len(t, peers, 1)
			require.Equal(t, []string{"manager", "EXECUTOR_MANAGER_URL", "", "true"}, describe(peers[0]))
			require.Equal(t, want, results(peers[0]))
		})
	}
}

// Who may see the settings can compare all secrets; others none.
func TestEverySecretCanBeCompared(t *testing.T) {
	running := serve(t, "backend", map[string]string{"APP_ENV": "production", "SECRET_KEY": "marker-secret-key-of-32-characters-or-more"})
	here := []config.Shared{
		{Env: "SECRET_KEY", IsSecret: true, Value: config.NewSecret("marker-secret-key-of-32-characters-or-more")},
		{Env: "DATABASE_URL", IsSecret: true, Value: config.NewSecret("postgres://poco:marker-another-password@localhost/poco")},
		{Env: "INTERNAL_API_TOKEN", Agreement: configv1.Agreement_AGREEMENT_MUST, IsSecret: true, Value: config.NewSecret(token)},
	}
	compare := func(shown string) (*configv1.PeerReport, error) {
		return peers.Compare(t.Context(), dial(t, running.url), "poco", "backend", here, config.NewSecret(shown))
	}
	report, err := compare(token)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"version": "EQUAL", "SECRET_KEY": "EQUAL", "DATABASE_URL": "DIFFERENT", "INTERNAL_API_TOKEN": "EQUAL"}, results(report))
	_, err = compare(otherOne)
	require.True(t, peers.IsRefused(err), "%v", err)
}

// In production a peer that refuses the token compares nothing else, and needs
// not to: the token is what differs.
func TestRefusedPeer(t *testing.T) {
	backend := serve(t, "backend", map[string]string{"APP_ENV": "production", "SECRET_KEY": "marker-secret-key-of-32-characters-or-more"})
	for _, c := range []struct{ service, token, result, says string }{
		{"manager", otherOne, "DIFFERENT", "the backend has another value: set both to the same one"},
		{"frontend", otherOne, "DIFFERENT", "the backend has another value, which is unusual and may be meant"},
		{"frontend", "", "UNSET_HERE", "the backend has a value, and here is none"},
	} {
		report := check(t, serve(t, c.service, map[string]string{"BACKEND_URL": backend.url, "INTERNAL_API_TOKEN": c.token}))[0]
		require.Equal(t, []string{"backend", "BACKEND_URL", "it refuses the token, without which it compares nothing", "true"}, describe(report))
		require.Equal(t, map[string]string{"INTERNAL_API_TOKEN": c.result}, results(report))
		require.Equal(t, c.says, report.GetChecks()[0].GetMessage())
	}
}

func withEnv(env map[string]string, name, value string) map[string]string {
	out := map[string]string{name: value}
	for k, v := range env {
		out[k] = v
	}
	return out
}

func describe(r *configv1.PeerReport) []string {
	return []string{r.GetService(), r.GetEnv(), r.GetError(), fmt.Sprint(r.GetReachable())}
}

func TestFrontend(t *testing.T) {
	backend := serve(t, "backend", nil)
	frontend := serve(t, "frontend", map[string]string{"BACKEND_URL": backend.url, "INTERNAL_API_TOKEN": ""})
	require.Equal(t, map[string]string{"version": "EQUAL", "APP_ENV": "EQUAL", "INTERNAL_API_TOKEN": "UNSET_HERE"}, results(check(t, frontend)[0]))
	frontend = serve(t, "frontend", map[string]string{"BACKEND_URL": backend.url})
	require.Equal(t, map[string]string{"version": "EQUAL", "APP_ENV": "EQUAL", "INTERNAL_API_TOKEN": "EQUAL"}, results(check(t, frontend)[0]))
}

func TestPeersThatCannotBeAsked(t *testing.T) {
	free := testkit.Listener(t)
	nobody := free.Addr().String()
	require.NoError(t, free.Close())
	frontend := serve(t, "frontend", nil)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>marker</html>") }))
	t.Cleanup(web.Close)
	elsewhere := httptest.NewServer(http.RedirectHandler("http://marker-elsewhere.example", http.StatusFound))
	t.Cleanup(elsewhere.Close)
	locked := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	t.Cleanup(locked.Close)
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/proto")
		_, _ = io.CopyN(w, zeros{}, 2<<20) // until the service has had enough
	}))
	t.Cleanup(endless.Close)
	for name, c := range map[string]struct{ url, says string }{
		"endless":           {endless.URL, "does not answer like a service of Poco"},
		"nobody listens":    {"http://" + nobody, "the connection is refused"},
		"no such name":      {"http://marker-host.invalid:8000", "cannot be resolved"},
		"another service":   {frontend.url, "another service answers there"},
		"a web page":        {web.URL, "does not answer like a service of Poco"},
		"another's lock":    {locked.URL, "does not answer like a service of Poco"},
		"a redirect":        {elsewhere.URL, "does not answer like a service of Poco"},
		"no TLS there":      {strings.Replace(frontend.url, "http:", "https:", 1), "does not speak TLS"},
		"a path that is no": {frontend.url + "/marker", "cannot compare settings"},
	} {
		t.Run(name, func(t *testing.T) {
			peers := check(t, serve(t, "backend", map[string]string{"EXECUTOR_MANAGER_URL": c.url}))
			require.Len(t, peers, 1)
			require.False(t, peers[0].GetReachable())
			require.Contains(t, peers[0].GetError(), c.says)
			require.Empty(t, peers[0].GetChecks())
		})
	}
}

// A peer that takes the connection and says nothing holds nobody up for long,
// and not the other checks.
func TestSilentPeer(t *testing.T) {
	silent := testkit.Listener(t)
	t.Cleanup(func() { _ = silent.Close() })
	peers := check(t, serve(t, "backend", map[string]string{"EXECUTOR_MANAGER_URL": "http://" + silent.Addr().String()}))
	require.Contains(t, peers[0].GetError(), "does not answer in time")
}

func TestCallbackURL(t *testing.T) {
	other := serve(t, "manager", nil)
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	listener := testkit.Listener(t)
	_, port, err := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)
	_ = listener.Close()
	for name, c := range map[string]struct{ callback, result, says string }{
		"itself":                  {"http://localhost:" + port + "/", "EQUAL", "leads to this process"},
		"another manager":         {other.url, "DIFFERENT", "another manager"},
		"something else":          {web.URL, "DIFFERENT", "something else"},
		"not reached from here":   {"http://marker-gateway.invalid:" + port, "UNKNOWN", "its port is this service's"},
		"not reached, other port": {"http://marker-gateway.invalid:1", "UNKNOWN", "its port is none"},
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:"+port)
			require.NoError(t, err)
			peers := check(t, serveOn(t, listener, "manager", map[string]string{"CALLBACK_BASE_URL": c.callback}))
			require.Len(t, peers, 2)
			require.Equal(t, map[string]string{"CALLBACK_BASE_URL": c.result}, results(peers[1]))
			require.Contains(t, peers[1].GetChecks()[0].GetMessage(), c.says)
		})
	}
}

// zeros is a reader without an end.
type zeros struct{}

// Read implements io.Reader.
func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
