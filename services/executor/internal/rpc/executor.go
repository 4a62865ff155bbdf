// Package rpc serves poco.executor.v1.
package rpc

import (
	"context"
	"errors"
	"strings"

	"connectrpc.com/connect/v2"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/gen/go/poco/executor/v1/executorv1connect"
	"github.com/poco-ai/poco/services/executor/internal/run"
	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/rpcerror"
	"github.com/poco-ai/poco/services/internal/version"
)

// Executor is poco.executor.v1.ExecutorService.
type Executor struct {
	Runs *run.Supervisor
}

// Interceptor demands the executor's token of every call of the service.
func Interceptor(token config.Secret) connect.ServerInterceptor {
	return auth.BearerInterceptor(func(spec connect.Spec) bool {
		return strings.HasPrefix(spec.Procedure, "/"+executorv1connect.ExecutorServiceName+"/")
	}, auth.StaticToken(token))
}

// StartRun accepts a run.
func (e *Executor) StartRun(_ context.Context, request *executorv1.StartRunRequest) (*executorv1.StartRunResponse, error) {
	if request.GetLeaseTtl().AsDuration() <= 0 {
		return nil, rpcerror.InvalidArgument("lease_ttl", "must be positive")
	}
	// A run goes on after the call that started it, so it has a context of its own.
	switch err := e.Runs.Start(request); {
	case errors.Is(err, run.ErrBusy):
		return nil, rpcerror.FailedPrecondition(backendv1.ErrorReason_ERROR_REASON_EXECUTOR_BUSY, "another run is under way", nil)
	case errors.Is(err, run.ErrStopping):
		return nil, rpcerror.Unavailable(backendv1.ErrorReason_ERROR_REASON_EXECUTOR_STOPPING, "the executor is stopping")
	case err != nil:
		return nil, rpcerror.InvalidArgument("channel_url", "cannot be used as an address").WithCause(err)
	}
	return &executorv1.StartRunResponse{}, nil
}

// CancelRun interrupts the agent.
func (e *Executor) CancelRun(_ context.Context, request *executorv1.CancelRunRequest) (*executorv1.CancelRunResponse, error) {
	if err := e.Runs.Cancel(request.GetRunId(), request.GetReason()); err != nil {
		return nil, rpcerror.NotFound("run", request.GetRunId())
	}
	return &executorv1.CancelRunResponse{}, nil
}

// GetStatus tells what the executor is doing.
func (e *Executor) GetStatus(context.Context, *executorv1.GetStatusRequest) (*executorv1.GetStatusResponse, error) {
	status := e.Runs.Status()
	status.Version = version.String()
	return status, nil
}
