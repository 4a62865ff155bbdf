package session

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/gen/go/poco/backend/v1/backendv1connect"
	"github.com/poco-ai/poco/services/backend/internal/hint"
	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

const (
	// listBatch bounds one query for changed sessions, which may show a lot.
	listBatch = 16
	// resyncInterval is the backup for hints that were missed: the watcher is
	// asked to list again, which costs less than to look for what changed.
	resyncInterval = time.Minute
)

// WatchSessions streams changes of a user's sessions.
func (s *Service) WatchSessions(ctx context.Context, req *backendv1.WatchSessionsRequest, stream backendv1connect.SessionServiceWatchSessionsServerStream) error {
	if err := stream.SendHeaders(); err != nil {
		return err
	}
	return s.WatchList(ctx, auth.User(ctx), req, stream.Send)
}

// WatchList streams changes of a user's sessions until ctx is done. Each stands
// for all changes since the last one of the same session.
func (s *Service) WatchList(ctx context.Context, userID string, req *backendv1.WatchSessionsRequest, send func(*backendv1.WatchSessionsResponse) error) error {
	hints := s.bus.Subscribe(hint.Sessions(userID))
	defer hints.Close()
	silence := time.NewTimer(s.Heartbeat)
	defer silence.Stop()
	resync := time.NewTicker(resyncInterval)
	defer resync.Stop()
	for {
		var news hint.News
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-hints.Ready():
			news = hints.Take()
		case <-resync.C:
			news.Missed = true
		case <-silence.C:
			silence.Reset(s.Heartbeat)
			err := send(&backendv1.WatchSessionsResponse{Kind: &backendv1.WatchSessionsResponse_Heartbeat{
				Heartbeat: heartbeat(),
			}})
			if err != nil {
				return err
			}
			continue
		}
		if err := s.sendChanged(ctx, news, userID, req, send); err != nil {
			return err
		}
		silence.Reset(s.Heartbeat)
	}
}

// sendChanged sends the sessions that changed, as they are now.
func (s *Service) sendChanged(ctx context.Context, news hint.News, userID string, req *backendv1.WatchSessionsRequest, send func(*backendv1.WatchSessionsResponse) error) error {
	if news.Missed {
		err := send(&backendv1.WatchSessionsResponse{Kind: &backendv1.WatchSessionsResponse_Resync{Resync: &backendv1.Resync{}}})
		if err != nil {
			return err
		}
	}
	for batch := range slices.Chunk(slices.Collect(maps.Keys(news.Sessions)), listBatch) {
		rows, err := s.store.Read().SessionGetMany(ctx, batch, userID)
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return rpcerror.Unavailable(backendv1.ErrorReason_ERROR_REASON_DATABASE_UNAVAILABLE, "the sessions cannot be read now; watch again").
				WithCause(fmt.Errorf("read sessions: %w", err))
		}
		for i := range rows {
			row := &rows[i].Session
			projectID := req.GetProjectId()
			inProject := projectID == "" || (row.ProjectID != nil && *row.ProjectID == projectID)
			m := &backendv1.WatchSessionsResponse{}
			switch {
			case row.DeletedAt != nil || !inProject:
				// For this list, a session that left the project is gone.
				m.Kind = &backendv1.WatchSessionsResponse_DeletedSessionId{DeletedSessionId: row.ID}
			case req.GetView() != backendv1.SessionView_SESSION_VIEW_FULL:
				m.Kind = &backendv1.WatchSessionsResponse_Session{Session: Basic(row)}
			default:
				p, err := Proto(row, &rows[i].SessionContent)
				if err != nil {
					return err
				}
				m.Kind = &backendv1.WatchSessionsResponse_Session{Session: p}
			}
			if err := send(m); err != nil {
				return err
			}
		}
	}
	return nil
}
