package session

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/poco-ai/poco/db/dbtype"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

const archiveType = "application/zip"

// GetWorkspaceArchive gives a link to a session's exported workspace as a zip.
func (s *Service) GetWorkspaceArchive(ctx context.Context, req *backendv1.GetWorkspaceArchiveRequest) (*backendv1.GetWorkspaceArchiveResponse, error) {
	row, err := s.store.OwnedSession(ctx, auth.User(ctx), req.GetSessionId())
	if err != nil {
		return nil, err
	}
	if row.ExportStatus != dbtype.ExportReady || row.ArchiveKey == "" {
		return nil, rpcerror.FailedPrecondition(backendv1.ErrorReason_ERROR_REASON_EXPORT_NOT_READY, "there is no exported workspace yet", nil)
	}
	filename := "workspace-" + row.ID + ".zip"
	url, expires, err := s.objects.PresignGet(ctx, row.ArchiveKey, filename, archiveType, true)
	if err != nil {
		return nil, fmt.Errorf("sign the link of the archive: %w", err)
	}
	return &backendv1.GetWorkspaceArchiveResponse{Url: url, Filename: filename, ExpiresAt: timestamppb.New(expires)}, nil
}
