package run

import (
	"context"
	"fmt"

	"github.com/poco-ai/poco/db/dbgen"
	"github.com/poco-ai/poco/services/backend/internal/page"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// Service is poco.backend.v1.RunService.
type Service struct {
	store  *store.Store
	tokens *page.Tokens
}

// New returns the service on a store.
func New(st *store.Store, tokens *page.Tokens) *Service { return &Service{store: st, tokens: tokens} }

func (s *Service) owned(ctx context.Context, userID, id string) (dbgen.Run, error) {
	row, err := s.store.Read().RunGetOwned(ctx, id, userID)
	if store.IsNotFound(err) {
		return row, rpcerror.NotFound("run", id)
	}
	if err != nil {
		return row, fmt.Errorf("read run: %w", err)
	}
	return row, nil
}
