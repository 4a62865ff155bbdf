package store_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/backend/internal/store"
)

// The database has every reason under a name of its own, and none for what a
// later version's executor may say.
func TestRunReasons(t *testing.T) {
	for n := range backendv1.RunReason_name {
		reason := backendv1.RunReason(n)
		require.Equal(t, reason, store.RunReason(store.RunReasonText(reason)), reason)
		require.Equal(t, reason == backendv1.RunReason_RUN_REASON_UNSPECIFIED, store.RunReasonText(reason) == "", reason)
	}
	require.Equal(t, "executor_lost", store.RunReasonText(backendv1.RunReason_RUN_REASON_EXECUTOR_LOST))
	require.Empty(t, store.RunReasonText(9999))
}
