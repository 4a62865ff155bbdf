package rpc

import (
	"context"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/gen/go/poco/backend/v1/backendv1connect"
	"github.com/poco-ai/poco/services/backend/internal/run"
	"github.com/poco-ai/poco/services/internal/auth"
)

// RunService is poco.backend.v1.RunService.
type RunService struct{ Runs *run.Runs }

var _ backendv1connect.RunServiceHandler = (*RunService)(nil)

// GetRun implements RunService.
func (s *RunService) GetRun(ctx context.Context, req *backendv1.GetRunRequest) (*backendv1.GetRunResponse, error) {
	r, err := s.Runs.Get(ctx, auth.User(ctx), req.GetRunId())
	if err != nil {
		return nil, err
	}
	return &backendv1.GetRunResponse{Run: r}, nil
}

// ListRuns implements RunService.
func (s *RunService) ListRuns(ctx context.Context, req *backendv1.ListRunsRequest) (*backendv1.ListRunsResponse, error) {
	return s.Runs.List(ctx, auth.User(ctx), req)
}

// ListFileChanges implements RunService.
func (s *RunService) ListFileChanges(ctx context.Context, req *backendv1.ListFileChangesRequest) (*backendv1.ListFileChangesResponse, error) {
	return s.Runs.Changes(ctx, auth.User(ctx), req)
}

// CancelRun implements RunService.
func (s *RunService) CancelRun(ctx context.Context, req *backendv1.CancelRunRequest) (*backendv1.CancelRunResponse, error) {
	r, err := s.Runs.Cancel(ctx, auth.User(ctx), req.GetRunId(), req.GetReason())
	if err != nil {
		return nil, err
	}
	return &backendv1.CancelRunResponse{Run: r}, nil
}
