package rpcserver_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/rpcserver"
)

// A page that makes its own name mean 127.0.0.1 gets nothing.
func TestForeignHostNamesAreRefusedOverLoopback(t *testing.T) {
	server, err := rpcserver.New(rpcserver.Options{Service: "test", AllowedHosts: []string{"poco.example.com"}, Addrs: []string{"127.0.0.1:0"}})
	require.NoError(t, err)
	require.NoError(t, server.Start())
	defer func() { require.NoError(t, server.Shutdown(t.Context())) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for host, want := range map[string]int{
		"localhost:8000":        http.StatusOK,
		"LOCALHOST":             http.StatusOK,
		"app.localhost":         http.StatusOK,
		"127.0.0.1:1":           http.StatusOK,
		"[::1]:8000":            http.StatusOK,
		"poco.example.com":      http.StatusOK,
		"poco.example.com:443":  http.StatusOK,
		"evil.example.com:8000": http.StatusMisdirectedRequest,
		"localhost.evil.com":    http.StatusMisdirectedRequest,
		"127.0.0.1.evil.com":    http.StatusMisdirectedRequest,
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+server.Addr().String()+"/healthz", nil)
		require.NoError(t, err)
		request.Host = host
		response, err := client.Do(request)
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, want, response.StatusCode, "%s: %s", host, body)
		if want != http.StatusOK {
			require.Contains(t, string(body), "ALLOWED_HOSTS")
		}
	}
}
