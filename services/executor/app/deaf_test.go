package app

import (
	"log/slog"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/config"
)

// An executor that its manager cannot call any more ends, and says why.
func TestAnExecutorWithoutItsListenerEnds(t *testing.T) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	cfg, err := LoadConfig(config.Sources{Environ: []string{"EXECUTOR_TOKEN=" + executorToken, "DEFAULT_MODEL=m", "WORKSPACE_PATH=" + t.TempDir(), "EXECUTOR_STATE_PATH=" + t.TempDir()}})
	require.NoError(t, err)
	err = Run(t.Context(), cfg, Options{
		Logger: slog.New(slog.DiscardHandler), Listener: listener,
		Ready: func(string) { require.NoError(t, listener.Close()) },
	})
	require.ErrorContains(t, err, "the listener on "+listener.Addr().String()+" failed")
}
