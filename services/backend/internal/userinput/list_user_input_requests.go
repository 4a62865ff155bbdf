package userinput

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/poco-ai/poco/db/dbgen"
	"github.com/poco-ai/poco/db/dbtype"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/backend/internal/page"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/pagesize"
)

// ListUserInputRequests lists a user's questions, oldest first.
func (s *Service) ListUserInputRequests(ctx context.Context, req *backendv1.ListUserInputRequestsRequest) (*backendv1.ListUserInputRequestsResponse, error) {
	userID := auth.User(ctx)
	statuses := make([]string, 0, len(req.GetStatuses()))
	for _, status := range req.GetStatuses() {
		statuses = append(statuses, string(store.InputStatusText(status)))
	}
	slices.Sort(statuses)
	list := "questions/" + userID + "/" + req.GetSessionId() + "/" + strings.Join(statuses, ",")
	key, err := s.tokens.Decode(list, req.GetPageToken(), page.Oldest)
	if err != nil {
		return nil, err
	}
	size := pagesize.Usual.Of(req.GetPageSize())
	rows, err := s.read(ctx, userID, req.GetSessionId(), statuses, key, size+1)
	if err != nil {
		return nil, err
	}
	resp := &backendv1.ListUserInputRequestsResponse{}
	var more bool
	resp.UserInputRequests, more, err = page.Fill(rows, size, func(row *dbgen.UserInputRequestListRow) (*backendv1.UserInputRequest, error) {
		row.UserInputRequest.Status = dbtype.InputStatus(row.StatusNow)
		return Proto(&row.UserInputRequest)
	})
	more = more || len(rows) > 0 && int64(len(rows)) < rows[0].Candidates
	if err == nil && more {
		last := rows[len(resp.GetUserInputRequests())-1].UserInputRequest
		resp.NextPageToken, err = s.tokens.Encode(list, page.Key{Time: last.CreatedAt, ID: last.ID})
	}
	return resp, err
}

func (s *Service) read(ctx context.Context, userID, sessionID string, statuses []string, key page.Key, limit int32) ([]dbgen.UserInputRequestListRow, error) {
	q := s.store.Read()
	if sessionID == "" {
		rows, err := q.UserInputRequestList(ctx, dbgen.UserInputRequestListParams{
			UserID: userID, Statuses: statuses, StoredStatuses: stored(statuses), AfterCreatedAt: key.Time, AfterID: key.ID, PageLimit: limit, MaxBytes: page.MaxBytes,
		})
		if err != nil {
			return nil, fmt.Errorf("list questions: %w", err)
		}
		return rows, nil
	}
	if _, err := s.store.OwnedSession(ctx, userID, sessionID); err != nil {
		return nil, err
	}
	rows, err := q.UserInputRequestListOfSession(ctx, dbgen.UserInputRequestListOfSessionParams{
		SessionID: sessionID, Statuses: statuses, AfterCreatedAt: key.Time, AfterID: key.ID, PageLimit: limit, MaxBytes: page.MaxBytes,
	})
	if err != nil {
		return nil, fmt.Errorf("list questions of session: %w", err)
	}
	result := make([]dbgen.UserInputRequestListRow, 0, len(rows))
	for _, row := range rows {
		result = append(result, dbgen.UserInputRequestListRow(row))
	}
	return result, nil
}

// stored are the states under which questions of the given states may be kept.
func stored(statuses []string) []string {
	if slices.Contains(statuses, string(dbtype.InputExpired)) {
		return append(slices.Clone(statuses), string(dbtype.InputPending))
	}
	return statuses
}
