package stack

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/config/reference"
)

func testLayer(t *testing.T) layer {
	t.Helper()
	return baseLayer(&dataDir{path: "/data"}, newSecrets())
}

func TestLayerIsAllThatIsNeeded(t *testing.T) {
	for name := range reference.Examples(reference.ExampleServices()) {
		require.Contains(t, testLayer(t), name, ".env.example says that up brings it")
	}
	s, err := loadSettings(with(config.Sources{}, testLayer(t), nil))
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1", s.backend.Msg.GetServer().GetHost())
	require.Equal(t, []string{"127.0.0.1"}, s.manager.Msg.GetServer().GetHosts())
	require.Equal(t, "127.0.0.1", s.frontend.Msg.GetHost())
	require.Equal(t, "/data/workspaces", s.manager.Msg.GetWorkspace().GetRoot())
	require.True(t, s.backend.Secret("INTERNAL_API_TOKEN").Equal(s.manager.Secret("INTERNAL_API_TOKEN").Reveal()))
}

func TestEnvironmentStandsAboveTheLayerAndFlagsAboveBoth(t *testing.T) {
	src := config.Sources{Environ: []string{"EXECUTOR_RUNTIME=docker", "PORT=8080", "HOST=0.0.0.0"}}
	s, err := loadSettings(with(src, testLayer(t), map[string]string{"EXECUTOR_RUNTIME": "process"}))
	require.NoError(t, err)
	require.Equal(t, int32(8080), s.backend.Msg.GetServer().GetPort())
	require.Equal(t, "0.0.0.0", s.backend.Msg.GetServer().GetHost())
	require.Equal(t, "process", s.manager.Msg.GetRuntime().GetRuntime())
}

// A page of this stack that acted on another deployment's backend would give it
// this stack's token.
func TestPageAndManagerKeepToTheirOwnBackend(t *testing.T) {
	for _, name := range []string{"BACKEND_URL", "POCO_BACKEND_URL", "POCO_API_URL"} {
		var told []string
		s := &stack{layer: testLayer(t), overrides: map[string]string{}}
		s.opts.Sources.Environ = []string{name + "=http://backend.example:8000"}
		s.opts.Progress = func(line string) { told = append(told, line) }
		s.layer["BACKEND_URL"] = "http://127.0.0.1:8000"
		require.NoError(t, s.load())
		s.keepToOwnBackend()
		require.NoError(t, s.load(), name)
		require.Equal(t, "http://127.0.0.1:8000", s.settings.frontend.Msg.GetBackendUrl(), name)
		require.Equal(t, "http://127.0.0.1:8000", s.settings.manager.Msg.GetServer().GetBackendUrl(), name)
		require.Len(t, told, 1, name)
	}
}

func TestServersOfSomebodyElseSwitchTheEmbeddedOnesOff(t *testing.T) {
	for _, test := range []struct {
		name         string
		environ      []string
		postgres, s3 bool
	}{
		{"nothing set", nil, true, true},
		{"database", []string{"DATABASE_URL=postgres://u:p@db/poco"}, false, true},
		{"objects", []string{"S3_ENDPOINT=https://s3.example"}, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			postgres, s3 := embeddedParts(with(config.Sources{Environ: test.environ}, testLayer(t), nil))
			require.Equal(t, test.postgres, postgres)
			require.Equal(t, test.s3, s3)
		})
	}
}

func TestAllProblemsOfAllServicesAreToldOnce(t *testing.T) {
	src := config.Sources{Environ: []string{"PORT=many", "MAX_CONCURRENT_TASKS=0", "FRONTEND_PORT=70000", "S3_MAX_ATTEMPTS=x"}}
	_, err := loadSettings(with(src, testLayer(t), nil))
	require.Error(t, err)
	for _, env := range []string{"PORT", "MAX_CONCURRENT_TASKS", "FRONTEND_PORT"} {
		require.ErrorContains(t, err, ". "+env+", in the environment")
	}
	require.Regexp(t, `S3_MAX_ATTEMPTS, in the environment \(backend, manager\)\n`, err.Error())
}

func TestAddresses(t *testing.T) {
	l := layer{}
	l.addresses("127.0.0.1:8000", "127.0.0.1:8001", executorHome{})
	require.Equal(t, "http://127.0.0.1:8001", l["CALLBACK_BASE_URL"])
	require.NotContains(t, l, "EXECUTOR_MANAGER_HOST")
	l.addresses("127.0.0.1:8000", "127.0.0.1:8001", executorHome{docker: true, gateway: "172.17.0.1"})
	require.Equal(t, "http://host.docker.internal:8001", l["CALLBACK_BASE_URL"])
	require.Equal(t, "127.0.0.1,172.17.0.1", l["EXECUTOR_MANAGER_HOST"])
}
