package rpc

import (
	"context"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/gen/go/poco/backend/v1/backendv1connect"
	"github.com/poco-ai/poco/services/backend/internal/userinput"
	"github.com/poco-ai/poco/services/internal/auth"
)

// UserInputService is poco.backend.v1.UserInputService.
type UserInputService struct{ Requests *userinput.Requests }

var _ backendv1connect.UserInputServiceHandler = (*UserInputService)(nil)

// ListUserInputRequests implements UserInputService.
func (s *UserInputService) ListUserInputRequests(ctx context.Context, req *backendv1.ListUserInputRequestsRequest) (*backendv1.ListUserInputRequestsResponse, error) {
	return s.Requests.List(ctx, auth.User(ctx), req)
}

// AnswerUserInputRequest implements UserInputService.
func (s *UserInputService) AnswerUserInputRequest(ctx context.Context, req *backendv1.AnswerUserInputRequestRequest) (*backendv1.AnswerUserInputRequestResponse, error) {
	answered, err := s.Requests.Answer(ctx, auth.User(ctx), req.GetUserInputRequestId(), req.GetAnswers())
	if err != nil {
		return nil, err
	}
	return &backendv1.AnswerUserInputRequestResponse{UserInputRequest: answered}, nil
}
