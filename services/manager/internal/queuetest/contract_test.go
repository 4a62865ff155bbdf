package queuetest_test

import (
	"testing"

	"github.com/google/uuid"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/contracttest"
	"github.com/poco-ai/poco/services/manager/internal/queuetest"
)

// TestQueueContract: the backend's queue keeps the same contract.
func TestQueueContract(t *testing.T) {
	contracttest.RunQueue(t, func(*testing.T) contracttest.Subject { return subject{queuetest.New()} })
}

// subject is a queue as the contract sees it.
type subject struct{ *queuetest.Queue }

func (s subject) Enqueue(_ testing.TB, sessionID, prompt string, config *backendv1.TaskConfig) (session, run string) {
	if sessionID == "" {
		sessionID = uuid.NewString()
	}
	return sessionID, s.Queue.Enqueue(sessionID, prompt, config)
}

func (s subject) Cancel(_ testing.TB, runID, message string) { s.Queue.Cancel(runID, message) }

func (s subject) Delete(_ testing.TB, sessionID string) { s.Queue.Delete(sessionID) }

func (s subject) Expire(_ testing.TB, runID string) { s.Queue.Expire(runID) }

func (s subject) Leave(_ testing.TB, worker string) { s.Queue.Leave(worker) }
