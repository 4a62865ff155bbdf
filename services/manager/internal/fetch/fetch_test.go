package fetch_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/poco-ai/poco/services/internal/egress"
	"github.com/poco-ai/poco/services/manager/internal/fetch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const maxBytes = 1000

func newFetcher(t *testing.T, opts fetch.Options) *fetch.Fetcher {
	t.Helper()
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"} {
		t.Setenv(name, "")
		t.Setenv(strings.ToLower(name), "")
	}
	opts.MaxBytes = maxBytes
	f := fetch.New(opts)
	t.Cleanup(f.Close)
	return f
}

// site serves what tests fetch, and counts nothing: who is refused never asks.
func site(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/data.csv", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "a,b") })
	mux.HandleFunc("/named", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Disposition", `attachment; filename="../../etc/r\\eport.pdf"`)
	})
	mux.HandleFunc("/odd/", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("x", maxBytes+1))
	})
	mux.HandleFunc("/endless", func(w http.ResponseWriter, _ *http.Request) {
		for range 10 {
			_, _ = io.WriteString(w, strings.Repeat("x", maxBytes))
			_ = http.NewResponseController(w).Flush()
		}
	})
	mux.HandleFunc("/to", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Query().Get("url"), http.StatusFound)
	})
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	mux.HandleFunc("/o/r/archive/HEAD.tar.gz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "the default branch") })
	mux.HandleFunc("/o/r/archive/a/b.tar.gz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "another branch") })
	mux.HandleFunc("/o/r/raw/main/x.md", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "a file") })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

func TestGet(t *testing.T) {
	url := site(t)
	f := newFetcher(t, fetch.Options{PrivateHosts: []string{"127.0.0.1"}, GitHub: url})
	for raw, want := range map[string]struct {
		name, content string
		tree          bool
	}{
		url + "/data.csv":                                 {"data.csv", "a,b", false},
		url + "/data.csv?token=x":                         {"data.csv", "a,b", false},
		url + "/named":                                    {"report.pdf", "", false},
		url + "/to?url=/data.csv":                         {"to", "a,b", false},
		url + "/odd/a%0Ab%FF.txt":                         {"ab_.txt", "", false},
		url + "/odd/" + strings.Repeat("é", 300) + ".txt": {strings.Repeat("é", 98) + ".txt", "", false},
		url + "/odd/..%2F..%2Fx.txt":                      {"x.txt", "", false},
		"https://github.com/o/r":                          {"r", "the default branch", true},
		"https://GitHub.com/o/r.git":                      {"r", "the default branch", true},
		"https://github.com/o/r/tree/a/b":                 {"r", "another branch", true},
		"https://github.com/o/r/blob/main/x.md":           {"x.md", "a file", false},
		"https://github.com/o/r/raw/main/x.md?a=b":        {"x.md", "a file", false},
	} {
		file, err := f.Get(t.Context(), raw)
		require.NoError(t, err, raw)
		content, err := io.ReadAll(file.Body)
		require.NoError(t, err)
		require.NoError(t, file.Body.Close())
		require.Equal(t, want.content, string(content), raw)
		require.Equal(t, want.tree, file.Tree, raw)
		if strings.Contains(raw, "named") {
			require.NotContains(t, file.Name, "/")
			continue
		}
		require.Equal(t, want.name, file.Name, raw)
	}
	for raw, want := range map[string]string{
		url + "/missing":                               "answers 404 Not Found",
		url + "/large":                                 "has 1001 bytes, more than 1000",
		url + "/loop":                                  "more than 5 redirects",
		url + "/to?url=file:///etc":                    "redirects to file://",
		"file:///etc/passwd":                           "needs an http(s) URL",
		"gopher://127.0.0.1":                           "needs an http(s) URL",
		"http://u:secret@127.0.0.1/x":                  "without user and password",
		"http://nosuchhost.invalid/x":                  "nosuchhost.invalid",
		strings.Replace(url, "http://", "https://", 1): "HTTP",
	} {
		_, err := f.Get(t.Context(), raw)
		require.ErrorContains(t, err, want, raw)
		require.NotContains(t, err.Error(), "secret")
	}
	file, err := f.Get(t.Context(), url+"/endless")
	require.NoError(t, err)
	_, err = io.ReadAll(file.Body)
	require.ErrorContains(t, err, "more than 1000 bytes")
	require.NoError(t, file.Body.Close())
}

// TestPrivateHosts: whatever way a private address is written, or reached, it is
// refused before anything is sent.
func TestPrivateHosts(t *testing.T) {
	open, target := site(t), site(t)
	port := target[strings.LastIndexByte(target, ':'):]
	f := newFetcher(t, fetch.Options{})
	for _, raw := range []string{
		target + "/data.csv", "http://localhost" + port, "http://[::1]" + port, "http://[::ffff:127.0.0.1]" + port, "http://0.0.0.0" + port,
		"http://127.1.2.3" + port, "http://169.254.169.254/latest/meta-data", "http://10.0.0.1", "http://192.168.1.1", "http://172.16.0.1",
		"http://100.64.0.1", "http://[fe80::1]", "http://[fd00::1]", "http://[64:ff9b::7f00:1]", "http://[2002:7f00:1::]", "http://224.0.0.1",
		"http://255.255.255.255", "http://localhost.", "http://127.0.0.1." + port,
	} {
		_, err := f.Get(t.Context(), raw)
		require.Error(t, err, raw)
		if !strings.Contains(raw, "127.0.0.1.:") {
			require.ErrorIs(t, err, fetch.ErrPrivate, raw)
		}
	}
	// A redirect from a host that may be reached leads to no other one.
	f = newFetcher(t, fetch.Options{PrivateHosts: []string{"127.0.0.1"}})
	_, err := f.Get(t.Context(), open+"/to?url="+url.QueryEscape("http://localhost"+port+"/data.csv"))
	require.ErrorIs(t, err, fetch.ErrPrivate)
}

// TestThroughTheProxy: the machine's proxy is taken, and not asked for what is
// private.
func TestThroughTheProxy(t *testing.T) {
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.RequestURI)
		_, _ = io.WriteString(w, "from the proxy")
	}))
	t.Cleanup(proxy.Close)
	f := newFetcher(t, fetch.Options{})
	t.Setenv("http_proxy", proxy.URL)
	r, err := http.NewRequest(http.MethodGet, "http://files.invalid/x", nil)
	require.NoError(t, err)
	through, err := egress.Proxy(r)
	require.NoError(t, err)
	require.Equal(t, proxy.URL, through.String())
	file, err := f.Get(t.Context(), "http://files.invalid/x")
	require.NoError(t, err)
	content, err := io.ReadAll(file.Body)
	require.NoError(t, err)
	require.NoError(t, file.Body.Close())
	require.Equal(t, "from the proxy", string(content))
	for _, raw := range []string{"http://10.0.0.1/x", "http://169.254.169.254/", "http://127.0.0.1/"} {
		_, err := f.Get(t.Context(), raw)
		require.ErrorIs(t, err, fetch.ErrPrivate, raw)
	}
	require.Equal(t, []string{"http://files.invalid/x"}, asked)
}

func TestACertificateThatIsNotTrusted(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	_, err := newFetcher(t, fetch.Options{PrivateHosts: []string{"127.0.0.1"}}).Get(t.Context(), server.URL+"/x")
	require.ErrorContains(t, err, "SSL_CERT_FILE")
}
