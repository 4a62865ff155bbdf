package probe_test

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/poco-ai/poco/services/internal/probe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMainProbesOnlyWhenAsked(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte("not ready, but here"))
	}))
	defer server.Close()
	for name, args := range map[string][]string{"a start": nil, "half a probe": {probe.Command}, "something else": {"x", server.URL}} {
		_, asked := probe.Main(args, nil)
		require.False(t, asked, name)
	}
	var out bytes.Buffer
	code, asked := probe.Main([]string{probe.Command, server.URL}, &out)
	require.True(t, asked)
	require.Zero(t, code, "who answers, whatever it is, is reached")
	require.Equal(t, "not ready, but here", out.String())
}

func TestUnreachable(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	var out bytes.Buffer
	code, asked := probe.Main([]string{probe.Command, "http://localhost:" + port + "/healthz"}, &out)
	require.True(t, asked)
	require.Equal(t, probe.ExitUnreachable, code)
	require.Contains(t, out.String(), "connection refused")
	require.Regexp(t, `localhost is .*127\.0\.0\.1.* here`, out.String())
}
