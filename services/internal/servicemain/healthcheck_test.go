package servicemain

import (
	"context"
	"errors"
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/rpcserver"
)

// TestHealthcheck: the service itself is asked, also past a proxy of the
// environment, and its answer is passed on.
func TestHealthcheck(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	var reason error
	server, err := rpcserver.New(rpcserver.Options{Service: "test", Addrs: []string{"0.0.0.0:0"}, Ready: func(context.Context) error { return reason }})
	require.NoError(t, err)
	require.NoError(t, server.Start())
	_, text, err := net.SplitHostPort(server.Addr().String())
	require.NoError(t, err)
	port, err := strconv.ParseInt(text, 10, 32)
	require.NoError(t, err)

	require.NoError(t, healthcheck(t.Context(), "0.0.0.0", int32(port)))
	reason = errors.New("Postgres does not answer")
	require.ErrorContains(t, healthcheck(t.Context(), "127.0.0.1", int32(port)), "Postgres does not answer")
	require.NoError(t, server.Shutdown(t.Context()))
	require.ErrorContains(t, healthcheck(t.Context(), "localhost", int32(port)), "not listening")
}

func TestWhereAListenerIsReached(t *testing.T) {
	for host, want := range map[string]string{"0.0.0.0": "127.0.0.1", "::": "::1", "10.1.2.3": "10.1.2.3", "localhost": "localhost"} {
		require.Equal(t, want, reachable(host))
	}
}
