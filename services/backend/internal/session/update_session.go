package session

import (
	"context"
	"slices"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/backend/internal/updatemask"
	"github.com/poco-ai/poco/services/internal/sanitize"
)

// UpdateSession changes the fields that the mask names: title, project.
func (s *Service) UpdateSession(ctx context.Context, req *backendv1.UpdateSessionRequest) (*backendv1.UpdateSessionResponse, error) {
	fields, err := updatemask.Fields(req, req.GetUpdateMask(), "title", "project_id")
	if err != nil {
		return nil, err
	}
	sanitize.Message(req)
	updated, err := s.change(ctx, req.GetSessionId(), func(ctx context.Context, row *store.Session) error {
		if slices.Contains(fields, "title") {
			row.Title = req.GetTitle()
		}
		if slices.Contains(fields, "project_id") {
			projectID, err := CheckProject(ctx, row.Tx().Q, row.UserID, req.GetProjectId())
			if err != nil {
				return err
			}
			row.ProjectID = projectID
		}
		return row.Emit("", &backendv1.EventPayload{Kind: &backendv1.EventPayload_SessionUpdated{
			SessionUpdated: &backendv1.SessionUpdated{Title: row.Title, ProjectId: value(row.ProjectID)},
		}})
	})
	if err != nil {
		return nil, err
	}
	return &backendv1.UpdateSessionResponse{Session: updated}, nil
}
