package run

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/poco-ai/poco/db/dbgen"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/backend/internal/page"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/pagesize"
)

// ListRuns lists a user's runs, newest first.
func (s *Service) ListRuns(ctx context.Context, req *backendv1.ListRunsRequest) (*backendv1.ListRunsResponse, error) {
	userID := auth.User(ctx)
	statuses := make([]string, 0, len(req.GetStatuses()))
	for _, status := range req.GetStatuses() {
		statuses = append(statuses, string(store.RunStatusText(status)))
	}
	slices.Sort(statuses)
	list := "runs/" + userID + "/" + req.GetSessionId() + "/" + strings.Join(statuses, ",")
	key, err := s.tokens.Decode(list, req.GetPageToken(), page.Newest)
	if err != nil {
		return nil, err
	}
	size := pagesize.Usual.Of(req.GetPageSize())
	rows, err := s.read(ctx, userID, req.GetSessionId(), statuses, key, size+1)
	if err != nil {
		return nil, err
	}
	resp := &backendv1.ListRunsResponse{}
	var more bool
	resp.Runs, more, err = page.Fill(rows, size, func(r *dbgen.Run) (*backendv1.Run, error) { return Proto(r), nil })
	if err == nil && more {
		last := rows[len(resp.GetRuns())-1]
		resp.NextPageToken, err = s.tokens.Encode(list, page.Key{Time: last.CreatedAt, ID: last.ID})
	}
	return resp, err
}

func (s *Service) read(ctx context.Context, userID, sessionID string, statuses []string, key page.Key, limit int32) ([]dbgen.Run, error) {
	q := s.store.Read()
	if sessionID == "" {
		rows, err := q.RunList(ctx, dbgen.RunListParams{
			UserID: userID, Statuses: statuses, BeforeCreatedAt: key.Time, BeforeID: key.ID, PageLimit: limit,
		})
		if err != nil {
			return nil, fmt.Errorf("list runs: %w", err)
		}
		return rows, nil
	}
	if _, err := s.store.OwnedSession(ctx, userID, sessionID); err != nil {
		return nil, err
	}
	rows, err := q.RunListOfSession(ctx, dbgen.RunListOfSessionParams{
		SessionID: sessionID, Statuses: statuses, BeforeCreatedAt: key.Time, BeforeID: key.ID, PageLimit: limit,
	})
	if err != nil {
		return nil, fmt.Errorf("list runs of session: %w", err)
	}
	return rows, nil
}
