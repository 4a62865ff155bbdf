package app_test

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/testkit"
	"github.com/poco-ai/poco/services/manager/app"
)

// A manager that its executors cannot reach any more takes no further runs: it
// ends, says why, and leaves what is under way to its next start.
func TestAManagerWithoutItsListenerEnds(t *testing.T) {
	s := newStack(t)
	listener := testkit.Listener(t)
	s.env["CALLBACK_BASE_URL"] = "http://" + listener.Addr().String()
	cfg, err := app.LoadConfig(s.sources())
	require.NoError(t, err)
	var session string
	err = app.Run(t.Context(), cfg, app.Options{Logger: s.logger(), Listener: listener, Ready: func(string) {
		session, _ = s.enqueue(promptWait)
		s.await(session, begun)
		require.NoError(t, listener.Close())
	}})
	require.ErrorContains(t, err, "the listener on "+listener.Addr().String()+" failed")

	again, err := net.Listen("tcp", listener.Addr().String())
	require.NoError(t, err)
	s.managerOn(again, s.env["CALLBACK_BASE_URL"], true)
	end := s.await(session, ended).GetRunStatusChanged()
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, end.GetStatus(), end.GetMessage())
}
