package session

import (
	"context"
	"fmt"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/auth"
)

// GetUsage sums up what a session's runs consumed.
func (s *Service) GetUsage(ctx context.Context, req *backendv1.GetUsageRequest) (*backendv1.GetUsageResponse, error) {
	row, err := s.store.OwnedSession(ctx, auth.User(ctx), req.GetSessionId())
	if err != nil {
		return nil, err
	}
	rows, err := s.store.Read().UsageListOfSession(ctx, row.ID)
	if err != nil {
		return nil, fmt.Errorf("read usage: %w", err)
	}
	usage, err := SumUsage(rows)
	if err != nil {
		return nil, err
	}
	return &backendv1.GetUsageResponse{Usage: usage}, nil
}
