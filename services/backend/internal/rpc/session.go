package rpc

import (
	"context"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/gen/go/poco/backend/v1/backendv1connect"
	"github.com/poco-ai/poco/services/backend/internal/session"
	"github.com/poco-ai/poco/services/backend/internal/watch"
	"github.com/poco-ai/poco/services/internal/auth"
)

// SessionService is poco.backend.v1.SessionService.
type SessionService struct {
	Sessions   *session.Sessions
	Workspaces *session.Workspaces
	Hub        *watch.Hub
}

var _ backendv1connect.SessionServiceHandler = (*SessionService)(nil)

// CreateSession implements SessionService.
func (s *SessionService) CreateSession(ctx context.Context, req *backendv1.CreateSessionRequest) (*backendv1.CreateSessionResponse, error) {
	p, err := s.Sessions.Create(ctx, auth.User(ctx), req)
	if err != nil {
		return nil, err
	}
	return &backendv1.CreateSessionResponse{Session: p}, nil
}

// GetSession implements SessionService.
func (s *SessionService) GetSession(ctx context.Context, req *backendv1.GetSessionRequest) (*backendv1.GetSessionResponse, error) {
	p, err := s.Sessions.Get(ctx, auth.User(ctx), req.GetSessionId())
	if err != nil {
		return nil, err
	}
	return &backendv1.GetSessionResponse{Session: p}, nil
}

// ListSessions implements SessionService.
func (s *SessionService) ListSessions(ctx context.Context, req *backendv1.ListSessionsRequest) (*backendv1.ListSessionsResponse, error) {
	return s.Sessions.List(ctx, auth.User(ctx), req)
}

// UpdateSession implements SessionService.
func (s *SessionService) UpdateSession(ctx context.Context, req *backendv1.UpdateSessionRequest) (*backendv1.UpdateSessionResponse, error) {
	p, err := s.Sessions.Update(ctx, auth.User(ctx), req)
	if err != nil {
		return nil, err
	}
	return &backendv1.UpdateSessionResponse{Session: p}, nil
}

// DeleteSession implements SessionService.
func (s *SessionService) DeleteSession(ctx context.Context, req *backendv1.DeleteSessionRequest) (*backendv1.DeleteSessionResponse, error) {
	if err := s.Sessions.Delete(ctx, auth.User(ctx), req.GetSessionId()); err != nil {
		return nil, err
	}
	return &backendv1.DeleteSessionResponse{}, nil
}

// CancelSession implements SessionService.
func (s *SessionService) CancelSession(ctx context.Context, req *backendv1.CancelSessionRequest) (*backendv1.CancelSessionResponse, error) {
	p, canceled, err := s.Sessions.Cancel(ctx, auth.User(ctx), req.GetSessionId(), req.GetReason())
	if err != nil {
		return nil, err
	}
	return &backendv1.CancelSessionResponse{Session: p, CanceledRunIds: canceled}, nil
}

// RetryExport implements SessionService.
func (s *SessionService) RetryExport(ctx context.Context, req *backendv1.RetryExportRequest) (*backendv1.RetryExportResponse, error) {
	p, err := s.Sessions.RetryExport(ctx, auth.User(ctx), req.GetSessionId())
	if err != nil {
		return nil, err
	}
	return &backendv1.RetryExportResponse{Session: p}, nil
}

// GetUsage implements SessionService.
func (s *SessionService) GetUsage(ctx context.Context, req *backendv1.GetUsageRequest) (*backendv1.GetUsageResponse, error) {
	usage, err := s.Sessions.Usage(ctx, auth.User(ctx), req.GetSessionId())
	if err != nil {
		return nil, err
	}
	return &backendv1.GetUsageResponse{Usage: usage}, nil
}

// ListMessages implements SessionService.
func (s *SessionService) ListMessages(ctx context.Context, req *backendv1.ListMessagesRequest) (*backendv1.ListMessagesResponse, error) {
	return s.Sessions.Messages(ctx, auth.User(ctx), req)
}

// ListToolExecutions implements SessionService.
func (s *SessionService) ListToolExecutions(ctx context.Context, req *backendv1.ListToolExecutionsRequest) (*backendv1.ListToolExecutionsResponse, error) {
	return s.Sessions.ToolExecutions(ctx, auth.User(ctx), req)
}

// ListWorkspaceFiles implements SessionService.
func (s *SessionService) ListWorkspaceFiles(ctx context.Context, req *backendv1.ListWorkspaceFilesRequest) (*backendv1.ListWorkspaceFilesResponse, error) {
	return s.Workspaces.Files(ctx, auth.User(ctx), req)
}

// GetWorkspaceArchive implements SessionService.
func (s *SessionService) GetWorkspaceArchive(ctx context.Context, req *backendv1.GetWorkspaceArchiveRequest) (*backendv1.GetWorkspaceArchiveResponse, error) {
	return s.Workspaces.Archive(ctx, auth.User(ctx), req.GetSessionId())
}

// WatchSession implements SessionService.
func (s *SessionService) WatchSession(ctx context.Context, req *backendv1.WatchSessionRequest, stream backendv1connect.SessionServiceWatchSessionServerStream) error {
	return s.Hub.Session(ctx, auth.User(ctx), req, stream.Send)
}

// WatchSessions implements SessionService.
func (s *SessionService) WatchSessions(ctx context.Context, req *backendv1.WatchSessionsRequest, stream backendv1connect.SessionServiceWatchSessionsServerStream) error {
	if err := stream.SendHeaders(); err != nil {
		return err
	}
	return s.Hub.Sessions(ctx, auth.User(ctx), req, stream.Send)
}
