// Package rpc is the backend's RPC surface: each method converts, calls one
// command, and converts back.
package rpc

import (
	"context"

	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/gen/go/poco/queue/v1/queuev1connect"
	"github.com/poco-ai/poco/services/backend/internal/queue"
	"github.com/poco-ai/poco/services/backend/internal/run"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/backend/internal/watch"
)

// QueueService is poco.queue.v1.RunQueueService.
type QueueService struct {
	Queue *queue.Queue
	Hub   *watch.Hub
}

var _ queuev1connect.RunQueueServiceHandler = (*QueueService)(nil)

// ClaimRuns implements RunQueueService.
func (s *QueueService) ClaimRuns(ctx context.Context, req *queuev1.ClaimRunsRequest) (*queuev1.ClaimRunsResponse, error) {
	runs, err := s.Queue.Claim(ctx, req.GetWorkerId(), req.GetMaxRuns(), req.GetScheduleModes(), req.GetLeaseDuration().AsDuration())
	if err != nil {
		return nil, err
	}
	return &queuev1.ClaimRunsResponse{Runs: runs}, nil
}

// RenewLeases implements RunQueueService.
func (s *QueueService) RenewLeases(ctx context.Context, req *queuev1.RenewLeasesRequest) (*queuev1.RenewLeasesResponse, error) {
	renewals, err := s.Queue.Renew(ctx, req.GetWorkerId(), req.GetLeases(), req.GetLeaseDuration().AsDuration())
	if err != nil {
		return nil, err
	}
	return &queuev1.RenewLeasesResponse{Renewals: renewals}, nil
}

// AdoptRuns implements RunQueueService.
func (s *QueueService) AdoptRuns(ctx context.Context, req *queuev1.AdoptRunsRequest) (*queuev1.AdoptRunsResponse, error) {
	runs, err := s.Queue.Adopt(ctx, req.GetWorkerId(), req.GetLeaseDuration().AsDuration())
	if err != nil {
		return nil, err
	}
	return &queuev1.AdoptRunsResponse{Runs: runs}, nil
}

// ReleaseRuns implements RunQueueService.
func (s *QueueService) ReleaseRuns(ctx context.Context, req *queuev1.ReleaseRunsRequest) (*queuev1.ReleaseRunsResponse, error) {
	if err := s.Queue.Release(ctx, req.GetLeases()); err != nil {
		return nil, err
	}
	return &queuev1.ReleaseRunsResponse{}, nil
}

// StartRun implements RunQueueService.
func (s *QueueService) StartRun(ctx context.Context, req *queuev1.StartRunRequest) (*queuev1.StartRunResponse, error) {
	r, err := s.Queue.Start(ctx, req.GetRunId(), req.GetFencingToken())
	if err != nil {
		return nil, err
	}
	return &queuev1.StartRunResponse{Run: r}, nil
}

// AppendRunEvents implements RunQueueService.
func (s *QueueService) AppendRunEvents(ctx context.Context, req *queuev1.AppendRunEventsRequest) (*queuev1.AppendRunEventsResponse, error) {
	ack, err := s.Queue.Append(ctx, req.GetRunId(), req.GetFencingToken(), req.GetAttempt(), req.GetEvents(), req.GetPartials())
	if err != nil {
		return nil, err
	}
	return &queuev1.AppendRunEventsResponse{AckedRunSeq: ack.Seq, Status: ack.Status}, nil
}

// RecoverRunEvents implements RunQueueService.
func (s *QueueService) RecoverRunEvents(ctx context.Context, req *queuev1.RecoverRunEventsRequest) (*queuev1.RecoverRunEventsResponse, error) {
	seq, err := s.Queue.Recover(ctx, req.GetWorkerId(), req.GetRunId(), req.GetAttempt(), req.GetEvents())
	if err != nil {
		return nil, err
	}
	return &queuev1.RecoverRunEventsResponse{AckedRunSeq: seq}, nil
}

// FinishRun implements RunQueueService.
func (s *QueueService) FinishRun(ctx context.Context, req *queuev1.FinishRunRequest) (*queuev1.FinishRunResponse, error) {
	r, err := s.Queue.Finish(ctx, req.GetRunId(), req.GetFencingToken(), run.Outcome{
		Status: store.RunStatusText(req.GetStatus()), Reason: req.GetReason(), Message: req.GetMessage(),
	})
	if err != nil {
		return nil, err
	}
	return &queuev1.FinishRunResponse{Run: r}, nil
}

// ReportExport implements RunQueueService.
func (s *QueueService) ReportExport(ctx context.Context, req *queuev1.ReportExportRequest) (*queuev1.ReportExportResponse, error) {
	return s.Queue.ReportExport(ctx, req)
}

// ListPendingExports implements RunQueueService.
func (s *QueueService) ListPendingExports(ctx context.Context, req *queuev1.ListPendingExportsRequest) (*queuev1.ListPendingExportsResponse, error) {
	exports, err := s.Queue.PendingExports(ctx, req.GetWorkerId())
	if err != nil {
		return nil, err
	}
	return &queuev1.ListPendingExportsResponse{Exports: exports}, nil
}

// WatchQueue implements RunQueueService.
func (s *QueueService) WatchQueue(ctx context.Context, _ *queuev1.WatchQueueRequest, stream queuev1connect.RunQueueServiceWatchQueueServerStream) error {
	return s.Hub.Claims(ctx, stream.Send)
}

// WatchRunCommands implements RunQueueService.
func (s *QueueService) WatchRunCommands(ctx context.Context, req *queuev1.WatchRunCommandsRequest, stream queuev1connect.RunQueueServiceWatchRunCommandsServerStream) error {
	return s.Hub.Commands(ctx, req.GetWorkerId(), s.Queue, stream.Send)
}

// AckRunCommand implements RunQueueService.
func (s *QueueService) AckRunCommand(ctx context.Context, req *queuev1.AckRunCommandRequest) (*queuev1.AckRunCommandResponse, error) {
	if err := s.Queue.AckCommand(ctx, req.GetWorkerId(), req.GetCommandId()); err != nil {
		return nil, err
	}
	return &queuev1.AckRunCommandResponse{}, nil
}

// ResolveRunConfig implements RunQueueService. MCP servers, skills and variables
// cannot be installed yet, so no run needs any.
func (s *QueueService) ResolveRunConfig(ctx context.Context, req *queuev1.ResolveRunConfigRequest) (*queuev1.ResolveRunConfigResponse, error) {
	if err := s.Queue.CheckHeld(ctx, req.GetRunId(), req.GetFencingToken()); err != nil {
		return nil, err
	}
	return &queuev1.ResolveRunConfigResponse{}, nil
}
