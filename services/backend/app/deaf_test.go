package app_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/db/dbtest"
	"github.com/poco-ai/poco/services/internal/testkit"
)

// A backend that nobody can call any more ends, and says why.
func TestABackendWithoutItsListenerEnds(t *testing.T) {
	b := start(t, dbtest.URL(t, testkit.Postgres(t)))
	require.NoError(t, b.listener.Close())
	err := <-b.done
	b.stopped = true
	require.ErrorContains(t, err, "the listener on "+b.listener.Addr().String()+" failed")
}
