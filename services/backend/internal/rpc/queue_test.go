package rpc_test

import (
	"context"
	"testing"

	"connectrpc.com/connect/v2"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/gen/go/poco/backend/v1/backendv1connect"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/gen/go/poco/queue/v1/queuev1connect"
	"github.com/poco-ai/poco/services/backend/internal/backendtest"
	"github.com/poco-ai/poco/services/backend/internal/rpc"
	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/contracttest"
	"github.com/poco-ai/poco/services/internal/rpcserver"
)

// TestQueueContract: the queue of the manager's tests keeps the same contract.
func TestQueueContract(t *testing.T) {
	contracttest.RunQueue(t, func(t *testing.T) contracttest.Subject {
		b := backendtest.New(t)
		conn, err := grpc.NewClient(serve(t, b), grpc.WithTransportCredentials(insecure.NewCredentials()))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, conn.Close()) })
		return &subject{queuev1.NewRunQueueServiceClient(conn), b}
	})
}

// serve serves a backend until the end of the test, and returns its address.
func serve(t *testing.T, b *backendtest.Backend) string {
	t.Helper()
	server, err := rpcserver.New(rpcserver.Options{
		Service: "backend", Addrs: []string{"127.0.0.1:0"},
		Interceptors: []connect.ServerInterceptor{auth.UserInterceptor(config.Secret{})},
	})
	require.NoError(t, err)
	backendv1connect.RegisterSessionServiceHandler(server.Connect(), &rpc.SessionService{Sessions: b.Sessions, Hub: b.Hub})
	queuev1connect.RegisterRunQueueServiceHandler(server.Connect(), b.Queue)
	require.NoError(t, server.Start())
	t.Cleanup(func() { require.NoError(t, server.Shutdown(context.WithoutCancel(t.Context()))) })
	return server.Addr().String()
}

// subject is the queue of a backend.
type subject struct {
	queuev1.RunQueueServiceClient
	backend *backendtest.Backend
}

// Enqueue implements contracttest.Subject.
func (s *subject) Enqueue(t testing.TB, sessionID, prompt string, config *backendv1.TaskConfig) (session, run string) {
	t.Helper()
	e, err := s.backend.Tasks.Enqueue(t.Context(), backendtest.User, &backendv1.EnqueueTaskRequest{SessionId: sessionID, Prompt: prompt, Config: config})
	require.NoError(t, err)
	return e.SessionID, e.RunID
}

// Cancel implements contracttest.Subject.
func (s *subject) Cancel(t testing.TB, runID, message string) {
	t.Helper()
	s.backend.Cancel(t, runID, message)
}

// Delete implements contracttest.Subject.
func (s *subject) Delete(t testing.TB, sessionID string) {
	t.Helper()
	require.NoError(t, s.backend.Sessions.Delete(t.Context(), backendtest.User, sessionID))
}

// Expire implements contracttest.Subject.
func (s *subject) Expire(t testing.TB, runID string) {
	t.Helper()
	s.exec(t, `UPDATE runs SET lease_expires_at = now() - interval '1 hour' WHERE id = $1 AND lease_expires_at IS NOT NULL`, runID)
	require.NoError(t, s.backend.Queue.ExpireLeases(t.Context()))
}

// Leave implements contracttest.Subject.
func (s *subject) Leave(t testing.TB, worker string) {
	t.Helper()
	s.exec(t, `UPDATE workers SET last_seen = now() - interval '1 hour' WHERE id = $1`, worker)
}

func (s *subject) exec(t testing.TB, statement, id string) {
	t.Helper()
	_, err := s.backend.Pool.Exec(t.Context(), statement, id)
	require.NoError(t, err)
}
