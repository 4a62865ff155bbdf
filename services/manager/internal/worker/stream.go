package worker

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/cenkalti/backoff/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/retry"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// Back-off of calls and streams to the backend.
const (
	retryFirst = 100 * time.Millisecond
	retryMost  = 5 * time.Second
	// callTimeout bounds one short call.
	callTimeout = 15 * time.Second
)

func newBackOff() *backoff.ExponentialBackOff { return retry.BackOff(retryFirst, retryMost) }

// keepStream opens a stream again and again until ctx ends. watch calls alive
// for each message.
func (w *Worker) keepStream(ctx context.Context, name string, watch func(ctx context.Context, alive func()) error) {
	wait := newBackOff()
	quiet := false
	for {
		err := watch(ctx, func() {
			wait.Reset()
			quiet = false
		})
		if ctx.Err() != nil {
			return
		}
		if !quiet && !errors.Is(err, io.EOF) {
			w.logger.Warn("stream from the backend broke, connecting again", "stream", name, logging.KeyError, err)
			quiet = true // once for each outage
		}
		if !retry.Pause(ctx, wait.NextBackOff()) {
			return
		}
	}
}

// callUntilAnswered makes a short call until it succeeds, its error is one that waiting
// does not fix, or ctx ends.
func callUntilAnswered[T any](ctx context.Context, call func(ctx context.Context) (T, error)) (T, error) {
	wait := newBackOff()
	for {
		callCtx, cancel := context.WithTimeout(ctx, callTimeout)
		resp, err := call(callCtx)
		cancel()
		if err == nil || !transient(err) {
			return resp, err
		}
		if !retry.Pause(ctx, wait.NextBackOff()) {
			return resp, errors.Join(context.Cause(ctx), err)
		}
	}
}

// transient tells whether an error of the backend may go away by itself. A
// wrong token is one: an operator corrects it, and no run is to be lost for it.
func transient(err error) bool {
	switch status.Code(err) {
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.FailedPrecondition, codes.OutOfRange, codes.Unimplemented:
		return false
	default:
		return true
	}
}

// notOurs tells whether an error says that the run is no longer this manager's.
func notOurs(err error) bool {
	return rpcerror.Reason(err) == backendv1.ErrorReason_ERROR_REASON_FENCING_TOKEN_STALE || status.Code(err) == codes.NotFound
}
