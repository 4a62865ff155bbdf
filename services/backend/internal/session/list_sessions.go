package session

import (
	"context"
	"fmt"

	"github.com/poco-ai/poco/db/dbgen"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/backend/internal/page"
	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/pagesize"
)

// ListSessions lists a user's sessions, newest first.
func (s *Service) ListSessions(ctx context.Context, req *backendv1.ListSessionsRequest) (*backendv1.ListSessionsResponse, error) {
	userID := auth.User(ctx)
	list := "sessions/" + userID + "/" + req.GetProjectId()
	key, err := s.tokens.Decode(list, req.GetPageToken(), page.Newest)
	if err != nil {
		return nil, err
	}
	size, full := pagesize.Usual.Of(req.GetPageSize()), req.GetView() == backendv1.SessionView_SESSION_VIEW_FULL
	var rows []dbgen.SessionListRow
	if project := req.GetProjectId(); project == "" {
		rows, err = s.store.Read().SessionList(ctx, dbgen.SessionListParams{
			UserID: userID, BeforeCreatedAt: key.Time, BeforeID: key.ID, PageLimit: size + 1,
			WithContents: full, MaxBytes: page.MaxBytes,
		})
	} else {
		var ofProject []dbgen.SessionListOfProjectRow
		ofProject, err = s.store.Read().SessionListOfProject(ctx, dbgen.SessionListOfProjectParams{
			UserID: userID, ProjectID: project, BeforeCreatedAt: key.Time, BeforeID: key.ID, PageLimit: size + 1,
			WithContents: full, MaxBytes: page.MaxBytes,
		})
		for _, row := range ofProject {
			rows = append(rows, dbgen.SessionListRow(row))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	resp := &backendv1.ListSessionsResponse{}
	var more bool
	resp.Sessions, more, err = page.Fill(rows, size, func(row *dbgen.SessionListRow) (*backendv1.Session, error) {
		if !full {
			return Basic(&row.Session), nil
		}
		return Proto(&row.Session, &dbgen.SessionContent{SessionID: row.Session.ID, Config: row.Config, State: row.State})
	})
	more = more || len(rows) > 0 && int64(len(rows)) < rows[0].Candidates
	if err == nil && more {
		last := rows[len(resp.GetSessions())-1].Session
		resp.NextPageToken, err = s.tokens.Encode(list, page.Key{Time: last.CreatedAt, ID: last.ID})
	}
	return resp, err
}
