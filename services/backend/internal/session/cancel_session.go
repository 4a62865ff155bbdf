package session

import (
	"context"

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
	queued, err := s.LockQueued(ctx)
	if err != nil {
		return nil, err
	}
	var canceled []string
	for _, r := range queued {
		if _, err := run.Cancel(ctx, s, r, message); err != nil {
			return nil, err
		}
		canceled = append(canceled, r.ID)
	}
	if s.ActiveRunID == nil {
		return canceled, nil
	}
	active, err := s.LockRun(ctx, *s.ActiveRunID)
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
