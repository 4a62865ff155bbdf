package session

import (
	"context"
	"fmt"
	"time"

	"github.com/poco-ai/poco/db/dbgen"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/gen/go/poco/backend/v1/backendv1connect"
	"github.com/poco-ai/poco/services/backend/internal/hint"
	"github.com/poco-ai/poco/services/backend/internal/page"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/backend/internal/watch"
	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/objectstore"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

var _ backendv1connect.SessionServiceHandler = (*Service)(nil)

// Service is poco.backend.v1.SessionService.
type Service struct {
	store   *store.Store
	tokens  *page.Tokens
	objects *objectstore.Store
	bus     *hint.Bus
	feeds   *watch.Feeds

	// Heartbeat is how long a stream is silent at most. It is not changed once
	// something is watched.
	Heartbeat time.Duration
}

// New returns the service on a store, whose exported workspaces are in objects.
// Those who watch are woken through the bus.
func New(st *store.Store, tokens *page.Tokens, objects *objectstore.Store, bus *hint.Bus, feeds *watch.Feeds) *Service {
	return &Service{store: st, tokens: tokens, objects: objects, bus: bus, feeds: feeds, Heartbeat: watch.Heartbeat}
}

// Lock locks a session of a user in a transaction.
func Lock(ctx context.Context, tx *store.Tx, userID, id string) (*store.Session, error) {
	s, err := tx.LockSession(ctx, id)
	if store.IsNotFound(err) || (err == nil && (s.UserID != userID || s.DeletedAt != nil)) {
		return nil, rpcerror.NotFound("session", id)
	}
	return s, err
}

// CheckProject returns a project's id when it is the user's; nil for none.
func CheckProject(ctx context.Context, q *dbgen.Queries, userID, projectID string) (*string, error) {
	if projectID == "" {
		return nil, nil
	}
	exists, err := q.ProjectExists(ctx, projectID, userID)
	if err != nil {
		return nil, fmt.Errorf("read project: %w", err)
	}
	if !exists {
		return nil, rpcerror.NotFound("project", projectID)
	}
	return &projectID, nil
}

// change changes the caller's locked session and returns it as it is then.
func (s *Service) change(ctx context.Context, id string, fn func(ctx context.Context, row *store.Session) error) (*backendv1.Session, error) {
	userID := auth.User(ctx)
	err := s.store.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		row, err := Lock(ctx, tx, userID, id)
		if err != nil {
			return err
		}
		return fn(ctx, row)
	})
	if err != nil {
		return nil, err
	}
	return s.get(ctx, userID, id)
}
