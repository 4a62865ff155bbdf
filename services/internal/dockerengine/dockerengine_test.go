package dockerengine_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
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
	if bridge, err := net.InterfaceByName("docker0"); err == nil {
		require.True(t, addr.IsValid(), "%s is there, and an engine that was never restarted does not tell its gateway", bridge.Name)
	}
	if addr.IsValid() {
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(addr.String(), "0"))
		require.NoError(t, err, "it is an address of this machine")
		require.NoError(t, listener.Close())
	}
}

// What an engine says of its default network, and where containers then find
// this machine, whose loopback stands in for a bridge.
func TestBridgeAddress(t *testing.T) {
	loopback := loopbackInterface(t)
	named := func(name string) string { return `"Options": {"com.docker.network.bridge.name": "` + name + `"}` }
	for name, c := range map[string]struct{ network, want string }{
		"after a restart":            {`"IPAM": {"Config": [{"Subnet": "127.0.0.0/8", "Gateway": "127.0.0.1"}]}, ` + named(loopback), "127.0.0.1"},
		"never restarted":            {`"IPAM": {"Config": [{"Subnet": "127.0.0.0/8"}]}, ` + named(loopback), "127.0.0.1"},
		"a bridge with another name": {`"IPAM": {"Config": [{"Subnet": "127.0.0.0/8"}]}, ` + named("somewhere else"), "127.0.0.1"},
		"no options":                 {`"IPAM": {"Config": [{"Subnet": "127.0.0.0/8"}]}`, "127.0.0.1"},
		"two pools":                  {`"IPAM": {"Config": [{"Subnet": "203.0.113.0/24"}, {"Subnet": "127.0.0.0/8"}]}`, "127.0.0.1"},
		"in a virtual machine":       {`"IPAM": {"Config": [{"Subnet": "203.0.113.0/24", "Gateway": "203.0.113.1"}]}, ` + named("docker0"), ""},
		"in one, never restarted":    {`"IPAM": {"Config": [{"Subnet": "203.0.113.0/24"}]}, ` + named("docker0"), ""},
		"no pool":                    {`"IPAM": {"Config": []}, ` + named(loopback), ""},
	} {
		t.Run(name, func(t *testing.T) {
			serveNetwork(t, http.StatusOK, `{"Name": "bridge", `+c.network+`}`)
			addr, err := dockerengine.BridgeAddress(t.Context(), open(t))
			require.NoError(t, err)
			if c.want == "" {
				require.False(t, addr.IsValid(), addr)
				return
			}
			require.Equal(t, c.want, addr.String())
		})
	}
	t.Run("no default network", func(t *testing.T) {
		serveNetwork(t, http.StatusNotFound, `{"message": "network bridge not found"}`)
		_, err := dockerengine.BridgeAddress(t.Context(), open(t))
		require.ErrorContains(t, err, "EXECUTOR_RUNTIME=process")
	})
}

// serveNetwork stands in for an engine with one network.
func serveNetwork(t *testing.T, status int, network string) {
	t.Helper()
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/_ping") {
			w.Header().Set("Api-Version", "1.41")
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, network)
	}))
	t.Cleanup(engine.Close)
	t.Setenv("DOCKER_HOST", "tcp://"+engine.Listener.Addr().String())
}

func loopbackInterface(t *testing.T) string {
	t.Helper()
	interfaces, err := net.Interfaces()
	require.NoError(t, err)
	for _, i := range interfaces {
		if i.Flags&net.FlagLoopback != 0 {
			return i.Name
		}
	}
	require.FailNow(t, "no loopback interface")
	return ""
}
