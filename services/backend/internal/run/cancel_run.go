package run

import (
	"context"
	"fmt"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/sanitize"
)

// CancelRun cancels a run of a user: a queued one at once, an active one when its
// agent has stopped. One that has ended stays as it is.
func (s *Service) CancelRun(ctx context.Context, req *backendv1.CancelRunRequest) (*backendv1.CancelRunResponse, error) {
	if _, err := s.owned(ctx, auth.User(ctx), req.GetRunId()); err != nil {
		return nil, err
	}
	resp := &backendv1.CancelRunResponse{}
	err := s.store.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		session, r, err := tx.LockRunWithSession(ctx, req.GetRunId())
		if err != nil {
			return err
		}
		if _, err := Cancel(ctx, session, r, sanitize.Text(req.GetReason())); err != nil {
			return err
		}
		resp.Run = Proto(&r.Run)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cancel run: %w", err)
	}
	return resp, nil
}
