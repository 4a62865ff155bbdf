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
		ids := make([]string, 0, len(held))
		for _, h := range held {
			ids = append(ids, h.SessionID)
		}
		rows, err := tx.Q.SessionLockMany(ctx, ids)
		if err != nil {
			return fmt.Errorf("lock sessions: %w", err)
		}
		sessions, ids := use(tx, rows)
		runs, err := tx.Q.RunAdopt(ctx, lease, ids, worker)
		if err != nil {
			return fmt.Errorf("adopt runs: %w", err)
		}
		asked, err := inputsOf(ctx, tx, runs)
		if err != nil {
			return err
		}
		for i := range runs {
			c, err := claimedRun(ctx, sessions[runs[i].SessionID], &runs[i], asked[runs[i].ID], lease)
			if err != nil {
				return err
			}
			adopted = append(adopted, c)
		}
		return nil
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
