package userinput

import (
	"github.com/poco-ai/poco/gen/go/poco/backend/v1/backendv1connect"
	"github.com/poco-ai/poco/services/backend/internal/page"
	"github.com/poco-ai/poco/services/backend/internal/store"
)

var _ backendv1connect.UserInputServiceHandler = (*Service)(nil)

// Service is poco.backend.v1.UserInputService.
type Service struct {
	store  *store.Store
	tokens *page.Tokens
}

// New returns the service on a store.
func New(st *store.Store, tokens *page.Tokens) *Service {
	return &Service{store: st, tokens: tokens}
}
