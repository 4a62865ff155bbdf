package runtimetest

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/grpcclient"
	"github.com/poco-ai/poco/services/manager/internal/runtime"
)

// RequireRealExecutor checks that the product's executor serves: it answers
// those who show the token of spec, and nobody else.
func RequireRealExecutor(t *testing.T, e runtime.Executor, spec runtime.Spec) {
	t.Helper()
	for token, want := range map[string]codes.Code{
		spec.Token: codes.OK, "wrong": codes.Unauthenticated, "": codes.Unauthenticated,
	} {
		conn, err := grpcclient.Dial(e.Addr, config.NewSecret(token))
		require.NoError(t, err)
		_, err = executorv1.NewExecutorServiceClient(conn).GetStatus(timeout(t), &executorv1.GetStatusRequest{})
		require.Equal(t, want, status.Code(err), "token %q: %v", token, err)
		require.NoError(t, conn.Close())
	}
}
