package command_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	test "github.com/poco-ai/poco/services/poco/internal/backendtest"
)

// answering is a web server that is no backend; its address has no scheme.
func answering(t *testing.T, tls bool, answer http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewUnstartedServer(answer)
	server.EnableHTTP2 = true
	if tls {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// speaking is a server that answers what is not HTTP.
func speaking(t *testing.T, says string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, listener.Close()) })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				request, err := http.ReadRequest(bufio.NewReader(conn))
				if err != nil {
					return // it was asked for TLS
				}
				_, _ = io.Copy(io.Discard, request.Body)
				_, _ = io.WriteString(conn, says)
			}()
		}
	}()
	return listener.Addr().String()
}

// page answers with a content of a type.
func page(status int, contentType, content string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, content)
	}
}

// TestAnAddressThatIsNoBackend: who answers there, and what the address should
// be, is said at once, without trying again.
func TestAnAddressThatIsNoBackend(t *testing.T) {
	const shouldBe = "POCO_URL (or --backend) has to be"
	plain := answering(t, false, http.NotFound)
	tls := answering(t, true, http.NotFound)
	for name, c := range map[string]struct {
		url  string
		says []string
	}{
		"no such page": {"http://" + plain, []string{"HTTP 404", "404 page not found", shouldBe, "/api/v1"}},
		"a page":       {"http://" + answering(t, false, page(http.StatusOK, "text/html", "<title>It works &amp; more</title>")), []string{"HTTP 200", `a page titled "It works & more"`, shouldBe}},
		"a method":     {"http://" + answering(t, false, page(http.StatusNotImplemented, "text/html", "<p>Unsupported method")), []string{"HTTP 501", "Unsupported method", shouldBe}},
		"another API":  {"http://" + answering(t, false, page(http.StatusNotFound, "application/json", `{"detail":"Not Found"}`)), []string{"HTTP 404", "Not Found", shouldBe}},
		"its success":  {"http://" + answering(t, false, page(http.StatusOK, "application/json", `{"ok":true}`)), []string{"HTTP 200", "ok", shouldBe}},
		"a redirect": {"http://" + answering(t, false, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://user:s3cret@other.example/x?token=s3cret", http.StatusMovedPermanently)
		}), []string{"HTTP 301", "redirect to https://other.example/x", shouldBe}},
		"no TLS":       {"https://" + plain, []string{"try http://" + plain}},
		"TLS":          {"http://" + tls, []string{"try https://" + tls}},
		"bad requests": {"http://" + answering(t, false, page(http.StatusBadRequest, "text/plain", "no such call")), []string{"HTTP 400", "no such call", shouldBe}},
		"no HTTP":      {"http://" + speaking(t, "hello\r\n"), []string{`the response "hello"`, shouldBe}},
		"not trusted":  {"https://" + tls, []string{"SSL_CERT_FILE"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, args := range [][]string{{"ls"}, {"run", "hi"}, {"attach", test.SessionID}} {
				code, out, stderr := poco(t, c.url, "", args...)
				require.Equal(t, 4, code, "%s%s", out, stderr)
				for _, says := range append(c.says, c.url) {
					require.Contains(t, stderr, says, args)
				}
				require.NotContains(t, stderr, "trying again", args)
				require.NotContains(t, stderr, "may have been started", args)
				require.NotContains(t, stderr, "s3cret", args)
			}
		})
	}
}

// TestAProxyWithoutItsBackend is tried again: what it says passes.
func TestAProxyWithoutItsBackend(t *testing.T) {
	url := "http://" + answering(t, false, page(http.StatusBadGateway, "text/html", "<title>502 Bad Gateway</title>"))
	code, _, stderr := poco(t, url, "", "ls")
	require.Equal(t, 4, code)
	require.Contains(t, stderr, "cannot be reached")
	require.NotContains(t, stderr, "POCO_URL")
}
