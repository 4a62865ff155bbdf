package app_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/frontend/app"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/testkit"
)

// TestCallsKeepTheirIDs: the backend logs a browser's call under the ids that
// the frontend does, and the browser is told them once.
func TestCallsKeepTheirIDs(t *testing.T) {
	var seen http.Header
	backend := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header
		w.Header().Set("X-Request-ID", r.Header.Get("X-Request-ID"))
		w.Header().Set("X-Trace-ID", r.Header.Get("X-Trace-ID"))
	}))
	backend.Config.Protocols = new(http.Protocols)
	backend.Config.Protocols.SetUnencryptedHTTP2(true)
	backend.Start()
	defer backend.Close()
	cfg, err := app.LoadConfig(config.Sources{Environ: []string{"BACKEND_URL=" + backend.URL}})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ready, done := make(chan string, 1), make(chan error, 1)
	listener := testkit.Listener(t)
	go func() {
		done <- app.Run(ctx, cfg, app.Options{Ready: func(url string) { ready <- url }, Listener: listener})
	}()

	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
		<-ready+"/api/v1/poco.backend.v1.SessionService/ListSessions", strings.NewReader("{}"))
	require.NoError(t, err)
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := transport.RoundTrip(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	for _, name := range []string{"X-Request-Id", "X-Trace-Id"} {
		require.Len(t, response.Header.Values(name), 1, name)
		require.Equal(t, seen.Values(name), response.Header.Values(name), name)
		require.NotEmpty(t, seen.Get(name))
	}
	stop()
	require.NoError(t, <-done)
}
