package app_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/poco-ai/poco/services/frontend/app"
	"github.com/poco-ai/poco/services/internal/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func call(t *testing.T, method, url, body string, header http.Header) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	if header != nil {
		request.Header = header
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := transport.RoundTrip(request)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(text)
}

func TestServiceServesEverythingOnOnePort(t *testing.T) {
	var log bytes.Buffer
	cfg, err := app.LoadConfig(config.Sources{Environ: []string{
		"BACKEND_URL=http://127.0.0.1:1", "INTERNAL_API_TOKEN=the-internal-token-of-all-services", "APP_ENV=production",
		"NEXT_PUBLIC_SESSION_POLLING_INTERVAL=1000",
	}})
	require.NoError(t, err)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ready := make(chan string, 1)
	done := make(chan error, 1)
	go func() {
		done <- app.Run(ctx, cfg, app.Options{
			Logger: slog.New(slog.NewTextHandler(&log, nil)), Ready: func(url string) { ready <- url }, Listener: listener,
		})
	}()
	url := <-ready

	for _, path := range []string{"/", "/app.js", "/healthz", "/readyz", "/metrics"} {
		status, _ := call(t, http.MethodGet, url+path, "", http.Header{})
		require.Equal(t, http.StatusOK, status, path)
	}
	_, settings := call(t, http.MethodGet, url+"/config.json", "", http.Header{})
	require.Contains(t, settings, `"NEXT_PUBLIC_SESSION_POLLING_INTERVAL":1000`)
	require.NotContains(t, settings, "the-internal-token-of-all-services")

	status, health := call(t, http.MethodPost, url+"/grpc.health.v1.Health/Check", "{}", http.Header{})
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, health, "SERVING")

	getConfig := url + "/poco.config.v1.ConfigService/GetConfig"
	status, _ = call(t, http.MethodPost, getConfig, "{}", http.Header{})
	require.Equal(t, http.StatusUnauthorized, status, "settings are not for everybody in production")
	status, report := call(t, http.MethodPost, getConfig, "{}", http.Header{"Authorization": {"Bearer the-internal-token-of-all-services"}})
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, report, "BACKEND_URL")
	require.NotContains(t, report, "the-internal-token-of-all-services")

	status, answer := call(t, http.MethodPost, url+"/api/v1/poco.backend.v1.SessionService/ListSessions", "{}", http.Header{})
	require.Equal(t, http.StatusBadGateway, status)
	require.Contains(t, answer, "unavailable")
	status, _ = call(t, http.MethodPost, url+"/api/v1/poco.queue.v1.RunQueueService/ClaimRuns", "{}", http.Header{})
	require.Equal(t, http.StatusNotFound, status)

	stop()
	require.NoError(t, <-done)
	require.NotContains(t, log.String(), "the-internal-token-of-all-services")
}

func TestConfigNeedsABackend(t *testing.T) {
	_, err := app.LoadConfig(config.Sources{})
	require.ErrorContains(t, err, "BACKEND_URL")
}
