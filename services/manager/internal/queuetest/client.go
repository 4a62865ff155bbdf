package queuetest

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/internal/objectstore"
)

// modeImmediate is the schedule mode of every run here.
const modeImmediate = "immediate"

// call checks a request and runs f under the lock, unless the method is to fail.
func call[T any](q *Queue, ctx context.Context, method string, req proto.Message, f func() (*T, error)) (*T, error) {
	if err := ctx.Err(); err != nil {
		return nil, status.FromContextError(err).Err()
	}
	if err := protovalidate.Validate(req); err != nil {
		return nil, invalid(err.Error())
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.fail[method]; err != nil {
		q.refused[method]++
		q.notify()
		return nil, err
	}
	resp, err := f()
	q.notify()
	return resp, err
}

// ClaimRuns implements the queue.
func (q *Queue) ClaimRuns(ctx context.Context, req *queuev1.ClaimRunsRequest, _ ...grpc.CallOption) (*queuev1.ClaimRunsResponse, error) {
	return call(q, ctx, "ClaimRuns", req, func() (*queuev1.ClaimRunsResponse, error) {
		q.heard[req.GetWorkerId()] = true
		resp := &queuev1.ClaimRunsResponse{}
		if modes := req.GetScheduleModes(); len(modes) > 0 && !slices.Contains(modes, modeImmediate) {
			return resp, nil
		}
		for _, r := range q.runs {
			if len(resp.Runs) < int(req.GetMaxRuns()) && r.Status == queued && q.claimable(r.SessionID, req.GetWorkerId()) {
				r.Status = claimed
				r.Attempt++
				claim := q.claim(r, req.GetWorkerId())
				claim.LeaseDuration = req.GetLeaseDuration()
				resp.Runs = append(resp.Runs, claim)
			}
		}
		return resp, nil
	})
}

// RenewLeases implements the queue.
func (q *Queue) RenewLeases(ctx context.Context, req *queuev1.RenewLeasesRequest, _ ...grpc.CallOption) (*queuev1.RenewLeasesResponse, error) {
	return call(q, ctx, "RenewLeases", req, func() (*queuev1.RenewLeasesResponse, error) {
		q.heard[req.GetWorkerId()] = true
		resp := &queuev1.RenewLeasesResponse{}
		for _, l := range req.GetLeases() {
			renewal := &queuev1.LeaseRenewal{RunId: l.GetRunId()}
			if r := q.find(l.GetRunId()); r != nil {
				renewal.Status = r.Status
				if r.active() && r.Token == l.GetFencingToken() && r.Worker == req.GetWorkerId() {
					r.Renewals++
					renewal.Renewed, renewal.LeaseDuration = true, req.GetLeaseDuration()
				}
			}
			resp.Renewals = append(resp.Renewals, renewal)
		}
		return resp, nil
	})
}

// AdoptRuns implements the queue.
func (q *Queue) AdoptRuns(ctx context.Context, req *queuev1.AdoptRunsRequest, _ ...grpc.CallOption) (*queuev1.AdoptRunsResponse, error) {
	return call(q, ctx, "AdoptRuns", req, func() (*queuev1.AdoptRunsResponse, error) {
		q.heard[req.GetWorkerId()] = true
		resp := &queuev1.AdoptRunsResponse{}
		for _, r := range q.runs {
			if r.active() && r.Worker == req.GetWorkerId() {
				claim := q.claim(r, r.Worker)
				claim.LeaseDuration = req.GetLeaseDuration()
				resp.Runs = append(resp.Runs, claim)
			}
		}
		return resp, nil
	})
}

// ReleaseRuns implements the queue.
func (q *Queue) ReleaseRuns(ctx context.Context, req *queuev1.ReleaseRunsRequest, _ ...grpc.CallOption) (*queuev1.ReleaseRunsResponse, error) {
	return call(q, ctx, "ReleaseRuns", req, func() (*queuev1.ReleaseRunsResponse, error) {
		for _, l := range req.GetLeases() {
			if r, err := q.owned(l.GetRunId(), l.GetFencingToken()); err == nil {
				q.release(r)
			}
		}
		return &queuev1.ReleaseRunsResponse{}, nil
	})
}

// StartRun implements the queue.
func (q *Queue) StartRun(ctx context.Context, req *queuev1.StartRunRequest, _ ...grpc.CallOption) (*queuev1.StartRunResponse, error) {
	return call(q, ctx, "StartRun", req, func() (*queuev1.StartRunResponse, error) {
		r, err := q.owned(req.GetRunId(), req.GetFencingToken())
		if err != nil {
			return nil, err
		}
		switch r.Status {
		case claimed:
			r.Status = running
			if r.Offered == 0 {
				r.Offered = r.Attempt
			}
			q.session(r.SessionID).owner = r.Worker
		case running:
		case canceling, canceled:
			return nil, Failure(backendv1.ErrorReason_ERROR_REASON_RUN_CANCELED, nil)
		default:
			return nil, Failure(backendv1.ErrorReason_ERROR_REASON_RUN_FINISHED, nil)
		}
		return &queuev1.StartRunResponse{Run: r.proto()}, nil
	})
}

// AppendRunEvents implements the queue.
func (q *Queue) AppendRunEvents(ctx context.Context, req *queuev1.AppendRunEventsRequest, _ ...grpc.CallOption) (*queuev1.AppendRunEventsResponse, error) {
	return call(q, ctx, "AppendRunEvents", req, func() (*queuev1.AppendRunEventsResponse, error) {
		if err := checkBatch(req.GetEvents()); err != nil {
			return nil, err
		}
		r, err := q.owned(req.GetRunId(), req.GetFencingToken())
		if err != nil {
			return nil, err
		}
		if events := r.unstored(req.GetEvents()); len(events) > 0 {
			switch {
			case r.final():
				return nil, Failure(backendv1.ErrorReason_ERROR_REASON_RUN_FINISHED, map[string]string{"acked_run_seq": strconv.FormatInt(r.acked(), 10)})
			case r.Status == claimed:
				return nil, Failure(backendv1.ErrorReason_ERROR_REASON_RUN_NOT_STARTED, nil)
			case events[0].GetRunSeq() != r.acked()+1:
				return nil, r.gap()
			}
			q.store(r, events)
			r.Appends++
		}
		if !r.final() {
			r.Partials = append(r.Partials, req.GetPartials()...)
		}
		return &queuev1.AppendRunEventsResponse{AckedRunSeq: r.acked(), Status: r.Status}, nil
	})
}

// RecoverRunEvents implements the queue.
func (q *Queue) RecoverRunEvents(ctx context.Context, req *queuev1.RecoverRunEventsRequest, _ ...grpc.CallOption) (*queuev1.RecoverRunEventsResponse, error) {
	return call(q, ctx, "RecoverRunEvents", req, func() (*queuev1.RecoverRunEventsResponse, error) {
		if err := checkBatch(req.GetEvents()); err != nil {
			return nil, err
		}
		r := q.find(req.GetRunId())
		switch {
		case r == nil:
			return nil, errNotFound()
		case !r.final():
			return nil, Failure(backendv1.ErrorReason_ERROR_REASON_RUN_NOT_FINISHED, nil)
		case r.Worker != req.GetWorkerId():
			return nil, Failure(backendv1.ErrorReason_ERROR_REASON_FENCING_TOKEN_STALE, nil)
		}
		events := r.unstored(req.GetEvents())
		if len(events) > 0 && events[0].GetRunSeq() != r.acked()+1 {
			return nil, r.gap()
		}
		for _, e := range events {
			if e.GetPayload().GetRunFinished() == nil { // it has an end
				r.Events = append(r.Events, e)
			}
		}
		return &queuev1.RecoverRunEventsResponse{AckedRunSeq: r.acked()}, nil
	})
}

// FinishRun implements the queue.
func (q *Queue) FinishRun(ctx context.Context, req *queuev1.FinishRunRequest, _ ...grpc.CallOption) (*queuev1.FinishRunResponse, error) {
	return call(q, ctx, "FinishRun", req, func() (*queuev1.FinishRunResponse, error) {
		r, err := q.owned(req.GetRunId(), req.GetFencingToken())
		switch {
		case err != nil:
			return nil, err
		case r.final():
		case q.goesOnAfter(r, req.GetReason()):
			q.goOn(r)
		default:
			q.end(r, req.GetStatus(), req.GetReason(), req.GetMessage())
		}
		return &queuev1.FinishRunResponse{Run: r.proto()}, nil
	})
}

// ResolveRunConfig implements the queue.
func (q *Queue) ResolveRunConfig(ctx context.Context, req *queuev1.ResolveRunConfigRequest, _ ...grpc.CallOption) (*queuev1.ResolveRunConfigResponse, error) {
	return call(q, ctx, "ResolveRunConfig", req, func() (*queuev1.ResolveRunConfigResponse, error) {
		if _, err := q.owned(req.GetRunId(), req.GetFencingToken()); err != nil {
			return nil, err
		}
		return &queuev1.ResolveRunConfigResponse{Environment: q.environment}, nil
	})
}

// ReportExport implements the queue.
func (q *Queue) ReportExport(ctx context.Context, req *queuev1.ReportExportRequest, _ ...grpc.CallOption) (*queuev1.ReportExportResponse, error) {
	return call(q, ctx, "ReportExport", req, func() (*queuev1.ReportExportResponse, error) {
		q.reports = append(q.reports, req)
		s := q.session(req.GetSessionId())
		if s.deleted || s.export != req.GetRunId() || s.owner != req.GetWorkerId() {
			return &queuev1.ReportExportResponse{}, nil
		}
		if err := checkKeys(req); err != nil {
			return nil, err
		}
		s.export = ""
		resp := &queuev1.ReportExportResponse{Accepted: true}
		if key := req.GetSnapshotKey(); key != "" {
			if key != s.snapshot {
				resp.SupersededSnapshotKey = s.snapshot
			}
			s.snapshot = key
		}
		return resp, nil
	})
}

// checkKeys refuses keys of other sessions.
func checkKeys(req *queuev1.ReportExportRequest) error {
	for _, key := range []string{req.GetManifestKey(), req.GetArchiveKey(), req.GetFilesPrefix()} {
		if key != "" && !strings.HasPrefix(key, objectstore.WorkspacePrefix(user, req.GetSessionId())) {
			return invalid("key of an export")
		}
	}
	if key := req.GetSnapshotKey(); key != "" && !strings.HasPrefix(key, objectstore.SnapshotPrefix(user, req.GetSessionId())) {
		return invalid("snapshot_key")
	}
	return nil
}

// ListPendingExports implements the queue.
func (q *Queue) ListPendingExports(ctx context.Context, req *queuev1.ListPendingExportsRequest, _ ...grpc.CallOption) (*queuev1.ListPendingExportsResponse, error) {
	return call(q, ctx, "ListPendingExports", req, func() (*queuev1.ListPendingExportsResponse, error) {
		resp := &queuev1.ListPendingExportsResponse{}
		for id, s := range q.sessions {
			if s.export != "" && s.owner == req.GetWorkerId() && !s.deleted && !q.busy(id) {
				resp.Exports = append(resp.Exports, &queuev1.PendingExport{SessionId: id, RunId: s.export, UserId: user})
			}
		}
		return resp, nil
	})
}

// AckRunCommand implements the queue.
func (q *Queue) AckRunCommand(ctx context.Context, req *queuev1.AckRunCommandRequest, _ ...grpc.CallOption) (*queuev1.AckRunCommandResponse, error) {
	return call(q, ctx, "AckRunCommand", req, func() (*queuev1.AckRunCommandResponse, error) {
		q.acked = append(q.acked, req.GetCommandId())
		q.commands = slices.DeleteFunc(q.commands, func(c command) bool {
			return c.GetId() == req.GetCommandId() && c.isFor(req.GetWorkerId())
		})
		return &queuev1.AckRunCommandResponse{}, nil
	})
}
