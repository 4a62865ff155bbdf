package selection_test

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"log/slog"
	"testing"

	"github.com/google/uuid"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/dockerengine"
	"github.com/poco-ai/poco/services/internal/testkit"
	"github.com/poco-ai/poco/services/manager/internal/runtime/selection"
)

func TestAutoTakesDockerWhenTheImageIsThere(t *testing.T) {
	engine, err := dockerengine.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, engine.Close()) })
	if _, err := engine.Ping(t.Context(), client.PingOptions{}); err != nil {
		testkit.Missing(t, "no container engine: %v", err)
	}
	image := "poco-test-empty:" + uuid.NewString()
	open := func() (name, why string) {
		rt, why, err := selection.Open(t.Context(), &configv1.RuntimeConfig{Runtime: "auto", ExecutorImage: image},
			selection.Options{WorkerID: "w", WorkspaceRoot: t.TempDir(), Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
		require.NoError(t, err)
		require.NoError(t, rt.Close())
		return rt.Name(), why
	}
	name, why := open()
	require.Equal(t, "process", name)
	require.Contains(t, why, "has no image")

	var empty bytes.Buffer
	require.NoError(t, tar.NewWriter(&empty).Close())
	imported, err := engine.ImageImport(t.Context(), client.ImageImportSource{Source: &empty, SourceName: "-"}, image, client.ImageImportOptions{})
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, imported)
	require.NoError(t, err)
	require.NoError(t, imported.Close())
	t.Cleanup(func() {
		_, err := engine.ImageRemove(context.WithoutCancel(t.Context()), image, client.ImageRemoveOptions{})
		require.NoError(t, err)
	})
	name, why = open()
	require.Equal(t, "docker", name)
	require.Contains(t, why, image)
}
