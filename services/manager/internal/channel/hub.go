// Package channel serves the channels that executors open to report and to be
// told things, and forwards their events to the backend.
package channel

import (
	"context"
	"sync"

	"connectrpc.com/connect/v2"

	"github.com/poco-ai/poco/gen/go/poco/manager/v1/managerv1connect"
	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// VerifyToken returns the run a token was made for.
type VerifyToken func(token string) (runID string, err error)

// Hub finds the link of a run for a channel that opens. It implements
// RunChannelService.
type Hub struct {
	verify VerifyToken

	mu    sync.Mutex
	open  bool
	links map[string]*Link
}

// NewHub returns a hub that answers Unavailable until Open is called.
func NewHub(verify VerifyToken) *Hub {
	return &Hub{verify: verify, links: make(map[string]*Link)}
}

// Open says that the held runs are known. Before, after a restart, an executor
// must not be told that its run is not held, because it would stop its agent.
func (h *Hub) Open() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open = true
}

// Shut says that the manager stops. From now on an executor whose run was let
// go of is told to try again, and finds the next start of the manager.
func (h *Hub) Shut() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open = false
}

// Add makes a link reachable.
func (h *Hub) Add(l *Link) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.links[l.RunID()] = l
}

// Remove makes a link unreachable.
func (h *Hub) Remove(l *Link) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.links[l.RunID()] == l {
		delete(h.links, l.RunID())
	}
}

// Lookup returns the link of a held run. open is false while it is not known
// yet, or no longer, which runs are held.
func (h *Hub) Lookup(runID string) (l *Link, open bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.links[runID], h.open
}

// VerifyRun returns the context of a held run, which ends when the run is no
// longer held. Its errors are rpcerror.Unauthenticated, NotFound or Unavailable.
func (h *Hub) VerifyRun(token string) (runID string, held context.Context, err error) {
	runID, err = h.verify(token)
	if err != nil {
		return "", nil, rpcerror.Unauthenticated("the run token is not valid").WithCause(err)
	}
	l, err := h.find(runID)
	if err != nil {
		return runID, nil, err
	}
	return runID, l.Context(), nil
}

func (h *Hub) find(runID string) (*Link, error) {
	l, open := h.Lookup(runID)
	switch {
	case l != nil && l.admits():
		return l, nil
	case !open:
		return nil, rpcerror.Unavailable("MANAGER_NOT_READY", "the manager is starting or stopping, try again")
	default:
		return nil, rpcerror.NotFound("run", runID)
	}
}

type runKey struct{}

// Interceptor verifies run tokens before anything is decoded.
func (h *Hub) Interceptor() connect.ServerInterceptor {
	return auth.BearerInterceptor(
		func(spec connect.Spec) bool {
			return spec.Procedure == managerv1connect.RunChannelServiceConnectProcedure
		},
		func(ctx context.Context, token string) (context.Context, error) {
			runID, err := h.verify(token)
			if err != nil {
				return nil, rpcerror.Unauthenticated("the run token is not valid").WithCause(err)
			}
			return context.WithValue(ctx, runKey{}, runID), nil
		})
}

// Connect serves one channel.
func (h *Hub) Connect(ctx context.Context, stream managerv1connect.RunChannelServiceConnectServerStream) error {
	runID, _ := ctx.Value(runKey{}).(string)
	first, err := stream.Receive()
	if err != nil {
		return err
	}
	hello := first.GetHello()
	if hello == nil {
		return rpcerror.InvalidArgument("hello", "must be the first message")
	}
	if runID == "" || hello.GetRunId() != runID {
		return rpcerror.Unauthenticated("the token is another run's")
	}
	l, err := h.find(runID)
	if err != nil {
		return err
	}
	logging.About(ctx, runID, l.opts.SessionID)
	return l.serve(ctx, stream)
}
