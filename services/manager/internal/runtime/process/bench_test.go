package process_test

import (
	"io"
	"log/slog"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/manager/internal/runtime"
	"github.com/poco-ai/poco/services/manager/internal/runtime/process"
	"github.com/poco-ai/poco/services/manager/internal/runtime/runtimetest"
)

// BenchmarkLaunch is the time from Launch to an answer of an executor that does
// nothing at its start: what this runtime adds.
func BenchmarkLaunch(b *testing.B) {
	rt, err := process.New(process.Config{
		WorkerID: "bench", StateDir: b.TempDir(), Command: []string{runtimetest.BuildExecutor(b)},
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	require.NoError(b, err)
	defer func() { require.NoError(b, rt.Close()) }()
	workspace := b.TempDir()
	for b.Loop() {
		e, err := rt.Launch(b.Context(), runtime.Spec{
			ExecutorID: uuid.NewString(), RunID: "r", SessionID: "s", WorkspaceDir: workspace, StateDir: workspace, Token: "t",
		})
		require.NoError(b, err)
		b.StopTimer()
		require.NoError(b, rt.Stop(b.Context(), e.ID, 0))
		b.StartTimer()
	}
}
