package selection_test

import (
	"io"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/manager/internal/runtime/selection"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOpen(t *testing.T) {
	t.Setenv("DOCKER_HOST", "unix://"+filepath.Join(t.TempDir(), "no-engine.sock"))
	for name, c := range map[string]struct {
		runtime, image string
		want, why, err string
	}{
		"auto without an image":       {runtime: "auto", want: "process", why: "EXECUTOR_IMAGE is not set"},
		"auto without an engine":      {runtime: "auto", image: "i", want: "process", why: "container engine unavailable: failed to connect to the docker API at unix://"},
		"process":                     {runtime: "process", image: "i", want: "process", why: "EXECUTOR_RUNTIME is process"},
		"docker, engine down for now": {runtime: "docker", image: "i", want: "docker", why: "EXECUTOR_RUNTIME is docker"},
		"docker without an image":     {runtime: "docker", err: "set EXECUTOR_IMAGE"},
		"unknown":                     {runtime: "podman", err: "use auto, docker or process"},
	} {
		t.Run(name, func(t *testing.T) {
			rt, why, err := selection.Open(t.Context(),
				&configv1.RuntimeConfig{Runtime: c.runtime, ExecutorImage: c.image},
				selection.Options{
					WorkerID: "w", WorkspaceRoot: t.TempDir(), Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
				})
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				require.Nil(t, rt)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, rt.Name())
			require.Contains(t, why, c.why)
			require.NoError(t, rt.Close())
		})
	}
}
