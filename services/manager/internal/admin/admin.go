// Package admin shows the manager's executors and workspaces to operators.
package admin

import (
	"context"
	"encoding/base64"

	"google.golang.org/protobuf/types/known/timestamppb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	managerv1 "github.com/poco-ai/poco/gen/go/poco/manager/v1"
	"github.com/poco-ai/poco/services/internal/pagesize"
	"github.com/poco-ai/poco/services/internal/rpcerror"
	"github.com/poco-ai/poco/services/manager/internal/runtime"
	"github.com/poco-ai/poco/services/manager/internal/workspace"
)

// Pool implements ExecutorPoolService.
type Pool struct {
	WorkerID string
	Runtime  runtime.Runtime
	// Load is how many runs are held, and the most that may be.
	Load func() (held, limit int)
}

// ListExecutors lists living executors and the load.
func (p *Pool) ListExecutors(ctx context.Context, _ *managerv1.ListExecutorsRequest) (*managerv1.ListExecutorsResponse, error) {
	executors, err := p.Runtime.List(ctx, "")
	if err != nil {
		return nil, rpcerror.Unavailable(backendv1.ErrorReason_ERROR_REASON_RUNTIME_UNAVAILABLE, "the "+p.Runtime.Name()+" runtime does not answer").WithCause(err)
	}
	held, limit := p.Load()
	resp := &managerv1.ListExecutorsResponse{
		WorkerId: p.WorkerID, Runtime: p.Runtime.Name(), HeldRuns: int32(held), MaxRuns: int32(limit),
	}
	for _, e := range executors {
		if !e.Alive {
			continue
		}
		resp.Executors = append(resp.Executors, &managerv1.Executor{
			Id: e.ID, SessionId: e.SessionID, RunId: e.RunID, ContainerMode: modeOf(e.Mode), Handle: e.Handle,
			StartedAt: timestamppb.New(e.StartedAt),
		})
	}
	return resp, nil
}

func modeOf(m runtime.Mode) backendv1.ContainerMode {
	if m == runtime.ModePersistent {
		return backendv1.ContainerMode_CONTAINER_MODE_PERSISTENT
	}
	return backendv1.ContainerMode_CONTAINER_MODE_EPHEMERAL
}

// Workspaces implements WorkspaceService.
type Workspaces struct {
	Store *workspace.Store
}

// GetWorkspaceStats counts workspaces and their disk.
func (w *Workspaces) GetWorkspaceStats(context.Context, *managerv1.GetWorkspaceStatsRequest) (*managerv1.GetWorkspaceStatsResponse, error) {
	stats, err := w.Store.Stats()
	if err != nil {
		return nil, err
	}
	return &managerv1.GetWorkspaceStatsResponse{
		DiskTotalBytes: stats.DiskTotal, DiskFreeBytes: stats.DiskFree, ActiveWorkspaces: int32(stats.Workspaces),
	}, nil
}

// ListWorkspaces lists workspaces by user and session.
func (w *Workspaces) ListWorkspaces(_ context.Context, req *managerv1.ListWorkspacesRequest) (*managerv1.ListWorkspacesResponse, error) {
	after, err := base64.RawURLEncoding.DecodeString(req.GetPageToken())
	if err != nil {
		return nil, rpcerror.InvalidArgument("page_token", "is not one that this service returned")
	}
	size := int(pagesize.Long.Of(req.GetPageSize()))
	// One more tells whether there is a next page.
	found, err := w.Store.List(string(after), size+1)
	if err != nil {
		return nil, err
	}
	resp := &managerv1.ListWorkspacesResponse{}
	if len(found) > size {
		found = found[:size]
		last := found[size-1]
		resp.NextPageToken = base64.RawURLEncoding.EncodeToString([]byte(last.UserPath + "/" + last.SessionID))
	}
	for _, f := range found {
		ws := &managerv1.Workspace{SessionId: f.SessionID, UserPath: f.UserPath}
		if !f.CreatedAt.IsZero() {
			ws.CreatedAt, ws.LastUsedAt = timestamppb.New(f.CreatedAt), timestamppb.New(f.LastUsed)
		}
		resp.Workspaces = append(resp.Workspaces, ws)
	}
	return resp, nil
}
