package session

import (
	"context"
	"fmt"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/auth"
)

// GetSession returns a session of a user.
func (s *Service) GetSession(ctx context.Context, req *backendv1.GetSessionRequest) (*backendv1.GetSessionResponse, error) {
	session, err := s.get(ctx, auth.User(ctx), req.GetSessionId())
	if err != nil {
		return nil, err
	}
	return &backendv1.GetSessionResponse{Session: session}, nil
}

func (s *Service) get(ctx context.Context, userID, id string) (*backendv1.Session, error) {
	row, err := s.store.OwnedSession(ctx, userID, id)
	if err != nil {
		return nil, err
	}
	content, err := s.store.Read().SessionContentGet(ctx, row.ID)
	if err != nil {
		return nil, fmt.Errorf("read the session's contents: %w", err)
	}
	return Proto(&row, &content)
}
