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
	"github.com/poco-ai/poco/services/internal/pagesize"
	"github.com/poco-ai/poco/services/internal/rpcerror"
	"github.com/poco-ai/poco/services/internal/sanitize"
)

// Schedule modes.
const (
	ModeImmediate = "immediate"
	ModeScheduled = "scheduled"
)

// Modes are what workers claim that name none, and all that is served: a run of
// another mode would wait for ever.
var Modes = []string{ModeImmediate, ModeScheduled}

// Runs is what users do with runs.
type Runs struct {
	store  *store.Store
	tokens *page.Tokens
}

// New returns the runs on a store.
func New(st *store.Store, tokens *page.Tokens) *Runs { return &Runs{store: st, tokens: tokens} }

// Get returns a run of a user.
func (s *Runs) Get(ctx context.Context, userID, id string) (*backendv1.Run, error) {
	row, err := s.owned(ctx, userID, id)
	if err != nil {
		return nil, err
	}
	return Proto(&row), nil
}

func (s *Runs) owned(ctx context.Context, userID, id string) (dbgen.Run, error) {
	row, err := s.store.Read().RunGetOwned(ctx, id, userID)
	if store.IsNotFound(err) {
		return row, rpcerror.NotFound("run", id)
	}
	if err != nil {
		return row, fmt.Errorf("read run: %w", err)
	}
	return row, nil
}

// List lists a user's runs, newest first.
func (s *Runs) List(ctx context.Context, userID string, req *backendv1.ListRunsRequest) (*backendv1.ListRunsResponse, error) {
	statuses := make([]string, 0, len(req.GetStatuses()))
	for _, status := range req.GetStatuses() {
		statuses = append(statuses, store.RunStatusText(status))
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

func (s *Runs) read(ctx context.Context, userID, sessionID string, statuses []string, key page.Key, limit int32) ([]dbgen.Run, error) {
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

// Cancel cancels a run of a user: a queued one at once, an active one when its
// agent has stopped. One that has ended stays as it is.
func (s *Runs) Cancel(ctx context.Context, userID, id, message string) (*backendv1.Run, error) {
	if _, err := s.owned(ctx, userID, id); err != nil {
		return nil, err
	}
	var result *backendv1.Run
	err := s.store.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		session, r, err := tx.LockRunWithSession(ctx, id)
		if err != nil {
			return err
		}
		if _, err := Cancel(ctx, session, r, sanitize.Text(message)); err != nil {
			return err
		}
		result = Proto(r)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cancel run: %w", err)
	}
	return result, nil
}
