package queue_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/backend/internal/backendtest"
	"github.com/poco-ai/poco/services/internal/contracttest"
)

// TestQueueContract: the queue of the manager's tests keeps the same contract.
func TestQueueContract(t *testing.T) {
	contracttest.RunQueue(t, func(t *testing.T) contracttest.Subject {
		b := backendtest.New(t)
		conn, err := grpc.NewClient(b.Serve(t), grpc.WithTransportCredentials(insecure.NewCredentials()))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, conn.Close()) })
		return &subject{queuev1.NewRunQueueServiceClient(conn), b}
	})
}

// subject is the queue of a backend.
type subject struct {
	queuev1.RunQueueServiceClient
	backend *backendtest.Backend
}

// Enqueue implements contracttest.Subject.
func (s *subject) Enqueue(t testing.TB, sessionID, prompt string, config *backendv1.TaskConfig) (session, run string) {
	t.Helper()
	e, err := s.backend.Tasks.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{SessionId: sessionID, Prompt: prompt, Config: config})
	require.NoError(t, err)
	return e.GetSessionId(), e.GetRunId()
}

// Cancel implements contracttest.Subject.
func (s *subject) Cancel(t testing.TB, runID, message string) {
	t.Helper()
	s.backend.Cancel(t, runID, message)
}

// Delete implements contracttest.Subject.
func (s *subject) Delete(t testing.TB, sessionID string) {
	t.Helper()
	s.backend.Delete(t, sessionID)
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
