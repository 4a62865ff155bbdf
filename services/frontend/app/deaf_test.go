package app_test

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/frontend/app"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/testkit"
)

// A frontend that nobody can open any more ends, and says why.
func TestAFrontendWithoutItsListenerEnds(t *testing.T) {
	cfg, err := app.LoadConfig(config.Sources{Environ: []string{"BACKEND_URL=http://127.0.0.1:1"}})
	require.NoError(t, err)
	listener := testkit.Listener(t)
	err = app.Run(t.Context(), cfg, app.Options{
		Logger: slog.New(slog.DiscardHandler), Listener: listener,
		Ready: func(string) { require.NoError(t, listener.Close()) },
	})
	require.ErrorContains(t, err, "the listener on "+listener.Addr().String()+" failed")
}
