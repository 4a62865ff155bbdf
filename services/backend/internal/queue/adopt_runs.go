package queue

import (
	"context"
	"fmt"
	"time"

	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/backend/internal/store"
)

// Adopt hands a worker that restarted its runs again, each under a new token.
func (q *Queue) Adopt(ctx context.Context, worker string, lease time.Duration) ([]*queuev1.ClaimedRun, error) {
	if err := q.touch(ctx, worker); err != nil {
		return nil, err
	}
	var adopted []*queuev1.ClaimedRun
	err := q.store.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		adopted = nil
		held, err := tx.Q.RunListHeld(ctx, worker)
		if err != nil || len(held) == 0 {
			return err
		}
		sessionIDs := make([]string, 0, len(held))
		for _, h := range held {
			sessionIDs = append(sessionIDs, h.SessionID)
		}
		sessions, err := tx.LockSessions(ctx, sessionIDs)
		if err != nil {
			return err
		}
		runs, err := tx.Q.RunAdopt(ctx, lease, ids(sessions), worker)
		if err != nil {
			return fmt.Errorf("adopt runs: %w", err)
		}
		adopted, err = handOut(ctx, tx, sessions, runs, lease, func(*store.Session, *store.Run) error { return nil })
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("adopt: %w", err)
	}
	return adopted, nil
}

// AdoptRuns implements RunQueueService.
func (q *Queue) AdoptRuns(ctx context.Context, req *queuev1.AdoptRunsRequest) (*queuev1.AdoptRunsResponse, error) {
	runs, err := q.Adopt(ctx, req.GetWorkerId(), req.GetLeaseDuration().AsDuration())
	if err != nil {
		return nil, err
	}
	return &queuev1.AdoptRunsResponse{Runs: runs}, nil
}
