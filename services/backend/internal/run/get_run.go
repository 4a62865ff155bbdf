package run

import (
	"context"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/auth"
)

// GetRun returns a run of a user.
func (s *Service) GetRun(ctx context.Context, req *backendv1.GetRunRequest) (*backendv1.GetRunResponse, error) {
	row, err := s.owned(ctx, auth.User(ctx), req.GetRunId())
	if err != nil {
		return nil, err
	}
	return &backendv1.GetRunResponse{Run: Proto(&row)}, nil
}
