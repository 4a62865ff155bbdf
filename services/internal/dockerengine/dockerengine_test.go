package dockerengine_test

import (
	"net"
	"path/filepath"
	"testing"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/poco-ai/poco/services/internal/dockerengine"
	"github.com/poco-ai/poco/services/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T) *client.Client {
	t.Helper()
	engine, err := dockerengine.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, engine.Close()) })
	return engine
}

func TestNoEngine(t *testing.T) {
	socket := "unix://" + filepath.Join(t.TempDir(), "none.sock")
	t.Setenv("DOCKER_HOST", socket)
	engine := open(t)
	err := dockerengine.Check(t.Context(), engine, "image")
	require.ErrorIs(t, err, dockerengine.ErrUnavailable)
	require.ErrorContains(t, err, socket)
	require.ErrorContains(t, err, "DOCKER_HOST")
	_, err = dockerengine.BridgeAddress(t.Context(), engine)
	require.ErrorIs(t, err, dockerengine.ErrUnavailable)
}

func TestEngine(t *testing.T) {
	engine := open(t)
	if _, err := engine.Ping(t.Context(), client.PingOptions{}); err != nil {
		testkit.Missing(t, "no container engine: %v", err)
	}
	require.ErrorIs(t, dockerengine.Check(t.Context(), engine, ""), dockerengine.ErrImageMissing)
	err := dockerengine.Check(t.Context(), engine, "poco-no-such-image:none")
	require.ErrorIs(t, err, dockerengine.ErrImageMissing)
	require.ErrorContains(t, err, "poco-no-such-image:none")

	addr, err := dockerengine.BridgeAddress(t.Context(), engine)
	require.NoError(t, err)
	if addr.IsValid() {
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(addr.String(), "0"))
		require.NoError(t, err, "it is an address of this machine")
		require.NoError(t, listener.Close())
	}
}
