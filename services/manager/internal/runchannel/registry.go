// Package runchannel serves the channels that executors open to report and to be
// told things, and forwards their events to the backend.
package runchannel

import (
	"context"
	"fmt"
	"sync"

	"connectrpc.com/connect/v2"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/gen/go/poco/manager/v1/managerv1connect"
	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/rpcerror"
	"github.com/poco-ai/poco/services/manager/internal/identity"
)

// VerifyToken returns the attempt of a run that a token was made for.
type VerifyToken func(token string) (identity.Attempt, error)

// Registry finds the link of a run for a channel that opens. It implements
// RunChannelService.
//
// It lets in the attempt that is held and no other: an executor that is left
// over from an earlier attempt can say nothing about its successor.
type Registry struct {
	verify VerifyToken

	mu    sync.Mutex
	open  bool
	links map[string]*Link
}

// NewRegistry returns a registry that answers Unavailable until Open is called. verify
// knows channel tokens.
func NewRegistry(verify VerifyToken) *Registry {
	return &Registry{verify: verify, links: make(map[string]*Link)}
}

// Open says that the held runs are known. Before, after a restart, an executor
// must not be told that its run is not held, because it would stop its agent.
func (r *Registry) Open() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open = true
}

// Shut says that the manager stops. From now on an executor whose run was let
// go of is told to try again, and finds the next start of the manager.
func (r *Registry) Shut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open = false
}

// Add makes a link reachable.
func (r *Registry) Add(l *Link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.links[l.RunID()] = l
}

// Remove makes a link unreachable.
func (r *Registry) Remove(l *Link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.links[l.RunID()] == l {
		delete(r.links, l.RunID())
	}
}

// Lookup returns the link of a held run. open is false while it is not known
// yet, or no longer, which runs are held.
func (r *Registry) Lookup(runID string) (l *Link, open bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.links[runID], r.open
}

// Held returns the context of an attempt that is held, which ends when it no
// longer is. Its errors are rpcerror.NotFound, FailedPrecondition or
// Unavailable.
func (r *Registry) Held(a identity.Attempt) (context.Context, error) {
	l, err := r.find(a)
	if err != nil {
		return nil, err
	}
	return l.Context(), nil
}

// errNotReady says that it is not known now which runs are held.
func errNotReady() *rpcerror.Error {
	return rpcerror.Unavailable(backendv1.ErrorReason_ERROR_REASON_MANAGER_NOT_READY, "the manager is starting or stopping, try again")
}

func (r *Registry) find(a identity.Attempt) (*Link, error) {
	l, open := r.Lookup(a.RunID)
	switch {
	case l != nil && l.opts.Attempt == a.Number:
		return l, nil
	case l != nil:
		return nil, rpcerror.FailedPrecondition(backendv1.ErrorReason_ERROR_REASON_ATTEMPT_SUPERSEDED,
			fmt.Sprintf("attempt %d of the run is under way, and this is attempt %d: stop the agent", l.opts.Attempt, a.Number), nil)
	case !open:
		return nil, errNotReady()
	default:
		return nil, rpcerror.NotFound("run", a.RunID)
	}
}

type attemptKey struct{}

// Interceptor verifies channel tokens before anything is decoded.
func (r *Registry) Interceptor() connect.ServerInterceptor {
	return auth.BearerInterceptor(
		func(spec connect.Spec) bool {
			return spec.Procedure == managerv1connect.RunChannelServiceConnectProcedure
		},
		func(ctx context.Context, token string) (context.Context, error) {
			attempt, err := r.verify(token)
			if err != nil {
				return nil, rpcerror.Unauthenticated("the channel token is not valid").WithCause(err)
			}
			return context.WithValue(ctx, attemptKey{}, attempt), nil
		})
}

// Connect serves one channel.
func (r *Registry) Connect(ctx context.Context, stream managerv1connect.RunChannelServiceConnectServerStream) error {
	attempt, _ := ctx.Value(attemptKey{}).(identity.Attempt)
	first, err := stream.Receive()
	if err != nil {
		return err
	}
	hello := first.GetHello()
	if hello == nil {
		return rpcerror.InvalidArgument("hello", "must be the first message")
	}
	if attempt.RunID == "" || hello.GetRunId() != attempt.RunID {
		return rpcerror.Unauthenticated("the token is another run's")
	}
	l, err := r.find(attempt)
	if err != nil {
		return err
	}
	logging.About(ctx, attempt.RunID, l.opts.SessionID)
	return l.serve(ctx, stream)
}
