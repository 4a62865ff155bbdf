package session

import (
	"context"
	"fmt"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/rpcerror"
	"github.com/poco-ai/poco/services/internal/sanitize"
)

// CreateSession makes an empty session.
func (s *Service) CreateSession(ctx context.Context, req *backendv1.CreateSessionRequest) (*backendv1.CreateSessionResponse, error) {
	if len(req.GetConfig().GetInputFiles()) > 0 {
		return nil, rpcerror.InvalidArgument("config.input_files", "belong to a run: send them with the prompt that needs them, by EnqueueTask")
	}
	sanitize.Message(req)
	userID := auth.User(ctx)
	var id string
	err := s.store.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		projectID, err := CheckProject(ctx, tx.Q, userID, req.GetProjectId())
		if err != nil {
			return err
		}
		kept, _, err := MergeConfig(&backendv1.TaskConfig{}, req.GetConfig())
		if err != nil {
			return err
		}
		row, err := tx.NewSession(ctx, userID, projectID, req.GetTitle(), kept)
		if err != nil {
			return err
		}
		id = row.ID
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("create session: %w", err)
	}
	created, err := s.get(ctx, userID, id)
	return &backendv1.CreateSessionResponse{Session: created}, err
}
