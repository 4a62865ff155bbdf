package session

import (
	"context"
	"fmt"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/backend/internal/run"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/internal/sanitize"
)

// CancelSession cancels all queued and active runs of a session.
func (s *Service) CancelSession(ctx context.Context, req *backendv1.CancelSessionRequest) (*backendv1.CancelSessionResponse, error) {
	var canceled []string
	session, err := s.change(ctx, req.GetSessionId(), func(ctx context.Context, row *store.Session) (err error) {
		canceled, err = cancelAll(ctx, row, sanitize.Text(req.GetReason()))
		return err
	})
	if err != nil {
		return nil, err
	}
	return &backendv1.CancelSessionResponse{Session: session, CanceledRunIds: canceled}, nil
}

// cancelAll cancels the queued runs first: so none of them can follow the
// active one.
func cancelAll(ctx context.Context, s *store.Session, message string) ([]string, error) {
	tx := s.Tx()
	queued, err := tx.Q.RunLockQueued(ctx, s.ID)
	if err != nil {
		return nil, fmt.Errorf("lock queued runs: %w", err)
	}
	var canceled []string
	for i := range queued {
		if _, err := run.Cancel(ctx, s, &queued[i], message); err != nil {
			return nil, err
		}
		canceled = append(canceled, queued[i].ID)
	}
	if s.ActiveRunID == nil {
		return canceled, nil
	}
	active, _, err := tx.LockRun(ctx, *s.ActiveRunID)
	if err != nil {
		return nil, err
	}
	changed, err := run.Cancel(ctx, s, active, message)
	if err != nil {
		return nil, err
	}
	if changed {
		canceled = append(canceled, active.ID)
	}
	return canceled, nil
}
