package rpcserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/otelconnect"
	"connectrpc.com/validate"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/rpcerror"
	"github.com/poco-ai/poco/services/internal/tracing"
)

// interceptors returns the chain, outermost first. What observes a call is
// outside of what recovers from panics, so that a panic is counted and logged
// as the Internal the caller sees.
func (s *Server) interceptors() ([]connect.ServerInterceptor, error) {
	observe, err := s.observer()
	if err != nil {
		return nil, err
	}
	chain := []connect.ServerInterceptor{observe}
	if s.opts.Traces.On() {
		trace, err := otelconnect.NewServerInterceptor(
			otelconnect.WithoutMetrics(), otelconnect.WithTracerProvider(s.opts.Traces.Tracers()), otelconnect.WithPropagator(tracing.Propagator), otelconnect.WithTrustRemote())
		if err != nil {
			return nil, fmt.Errorf("set up tracing: %w", err)
		}
		chain = append(chain, trace)
	}
	chain = append(chain, passedOn, s.recovery, rpcerror.Interceptor(s.logger), tooLarge, s.draining, s.limitStreams, canonicalIDs, about)
	chain = append(chain, s.opts.Interceptors...)
	var options []validate.Option
	if s.opts.Validator != nil {
		options = append(options, validate.WithValidator(s.opts.Validator))
	}
	return append(chain, validate.NewServerInterceptor(options...)), nil
}

// passedOn tells what is on the way how to pass an answer on: a stream message by
// message, everything else without keeping it, because what a GET is answered
// with is its caller's alone.
func passedOn(next connect.ServerFunc) connect.ServerFunc {
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
		switch info, ok := connect.CallInfoForServerContext(ctx); {
		case !ok:
		case spec.StreamType == connect.StreamTypeUnary:
			info.ResponseHeader().Set("Cache-Control", "no-store")
			info.ResponseHeader().Set("X-Content-Type-Options", "nosniff")
		default:
			Unbuffered(info.ResponseHeader())
		}
		return next(ctx, spec, stream)
	}
}

// about notes which run and session the messages of a call name.
func about(next connect.ServerFunc) connect.ServerFunc {
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
		return next(ctx, spec, &noting{stream, ctx})
	}
}

type noting struct {
	connect.ServerStream
	ctx context.Context //nolint:containedctx // of the call that the stream is
}

// Receive implements connect.ServerStream.
func (n *noting) Receive(msg any) error {
	err := n.ServerStream.Receive(msg)
	if err == nil {
		n.note(msg)
	}
	return err
}

// Send implements connect.ServerStream.
func (n *noting) Send(msg any) error {
	n.note(msg)
	return n.ServerStream.Send(msg)
}

func (n *noting) note(msg any) {
	if m, ok := msg.(interface{ GetRunId() string }); ok {
		logging.About(n.ctx, m.GetRunId(), "")
	}
	if m, ok := msg.(interface{ GetSessionId() string }); ok {
		logging.About(n.ctx, "", m.GetSessionId())
	}
}

// recovery turns a panic into a bare Internal.
func (s *Server) recovery(next connect.ServerFunc) connect.ServerFunc {
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) (err error) {
		defer func() {
			recovered := recover()
			if recovered == nil {
				return
			}
			if recovered == http.ErrAbortHandler { //nolint:errorlint // a sentinel passed to panic, never wrapped
				panic(recovered)
			}
			s.logger.ErrorContext(ctx, "rpc panicked", "procedure", spec.Procedure,
				"panic", fmt.Sprint(recovered), "stack", string(debug.Stack()))
			err = rpcerror.Internal(ctx)
		}()
		return next(ctx, spec, stream)
	}
}

// draining ends streams when the server stops. Unary calls are left to finish.
func (s *Server) draining(next connect.ServerFunc) connect.ServerFunc {
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
		if s.drainCtx.Err() != nil {
			return errUnavailable()
		}
		if spec.StreamType == connect.StreamTypeUnary {
			return next(ctx, spec, stream)
		}
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		var reading requestReader
		if rc, ok := ctx.Value(responseControllerKey{}).(*http.ResponseController); ok {
			reading.rc = rc
		}
		defer reading.finish()
		stop := context.AfterFunc(s.drainCtx, func() { // the server's end, not the caller's
			cancel(ErrDraining)
			reading.interrupt()
		})
		defer stop()
		err := next(ctx, spec, stream)
		if err != nil && errors.Is(context.Cause(ctx), ErrDraining) {
			return errUnavailable()
		}
		return err
	}
}

// limitStreams refuses streaming calls when there are too many. Those of other
// services, which show the internal token, always find a place.
func (s *Server) limitStreams(next connect.ServerFunc) connect.ServerFunc {
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
		if spec.StreamType == connect.StreamTypeUnary {
			return next(ctx, spec, stream)
		}
		info, ok := connect.CallInfoForServerContext(ctx)
		if ok && s.opts.InternalToken.Equal(auth.BearerToken(info.RequestHeader().Get("Authorization"))) {
			return next(ctx, spec, stream)
		}
		select {
		case s.streams <- struct{}{}:
			defer func() { <-s.streams }()
			return next(ctx, spec, stream)
		default:
			return rpcerror.ResourceExhausted(backendv1.ErrorReason_ERROR_REASON_TOO_MANY_STREAMS,
				fmt.Sprintf("%d streams are open, the most that this service serves at once", cap(s.streams)), streamRetry)
		}
	}
}

// streamRetry is when a refused stream may be tried again.
const streamRetry = 5 * time.Second

// tooLarge says in which terms a message is too large.
func tooLarge(next connect.ServerFunc) connect.ServerFunc {
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
		return next(ctx, spec, &bounded{stream})
	}
}

type bounded struct{ connect.ServerStream }

// Receive implements connect.ServerStream.
func (b *bounded) Receive(msg any) error {
	err := b.ServerStream.Receive(msg)
	if err != nil && connect.CodeOf(err) == connect.CodeResourceExhausted {
		return rpcerror.New(connect.CodeResourceExhausted, backendv1.ErrorReason_ERROR_REASON_MESSAGE_TOO_LARGE,
			fmt.Sprintf("the request is larger than %d MiB, the most that this service reads", maxRequestBytes>>20), nil).WithCause(err)
	}
	return err
}

func errUnavailable() *rpcerror.Error {
	return rpcerror.Unavailable(backendv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN, ErrDraining.Error())
}

// requestReader interrupts a handler that waits for the next message of its
// client, which no context reaches.
type requestReader struct {
	mu sync.Mutex
	rc *http.ResponseController
}

func (r *requestReader) interrupt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rc != nil {
		// A writer without deadlines leaves the handler to its context.
		_ = r.rc.SetReadDeadline(time.Unix(1, 0))
	}
}

// finish makes sure that a request that has ended is not touched any more.
func (r *requestReader) finish() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rc = nil
}

// logCall writes the access log's line of one RPC.
func (s *Server) logCall(ctx context.Context, spec connect.Spec, took time.Duration, err error) {
	attrs := []any{"procedure", spec.Procedure, "code", codeName(err), "duration_ms", float64(took.Microseconds()) / 1000}
	if info, ok := connect.CallInfoForServerContext(ctx); ok {
		attrs = append(attrs, "protocol", info.Protocol, "peer", info.PeerAddr)
	}
	if err != nil {
		attrs = append(attrs, logging.KeyError, rpcerror.Message(err))
	}
	s.logger.InfoContext(ctx, "rpc", attrs...)
}

func codeName(err error) string {
	if err == nil {
		return "ok"
	}
	return rpcerror.CodeOf(err).String()
}
