package session

import (
	"context"
	"fmt"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/internal/auth"
)

// DeleteSession hides a session, cancels its runs, and has it purged.
func (s *Service) DeleteSession(ctx context.Context, req *backendv1.DeleteSessionRequest) (*backendv1.DeleteSessionResponse, error) {
	err := s.store.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		row, err := Lock(ctx, tx, auth.User(ctx), req.GetSessionId())
		if err != nil {
			return err
		}
		return Remove(ctx, row, "The session was deleted.")
	})
	if err != nil {
		return nil, fmt.Errorf("delete session: %w", err)
	}
	return &backendv1.DeleteSessionResponse{}, nil
}

// Remove deletes a locked session: nobody sees it from here on, its runs are
// canceled for the reason given, and the purger has to make an end of it.
func Remove(ctx context.Context, row *store.Session, reason string) error {
	if _, err := cancelAll(ctx, row, reason); err != nil {
		return err
	}
	if err := row.Tx().Q.DeletedSessionInsert(ctx, row.ID, row.UserID); err != nil {
		return fmt.Errorf("note the deleted session: %w", err)
	}
	now := store.Now()
	row.DeletedAt = &now
	return nil
}
