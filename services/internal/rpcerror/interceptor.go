package rpcerror

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"buf.build/go/protovalidate"
	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectproto"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/logging"
)

// Interceptor turns the errors of handlers into RPC errors. What it does not
// know reaches the caller as a bare Internal with a request id, and the log
// with its cause.
func Interceptor(logger *slog.Logger) connect.ServerInterceptor {
	return func(next connect.ServerFunc) connect.ServerFunc {
		return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
			err := next(ctx, spec, stream)
			if err == nil {
				return nil
			}
			return toWire(ctx, logger, spec, err)
		}
	}
}

func toWire(ctx context.Context, logger *slog.Logger, spec connect.Spec, err error) error {
	if domain, ok := errors.AsType[*Error](err); ok {
		if domain.cause != nil && isServerFault(domain.code) {
			logger.ErrorContext(ctx, "rpc failed", "procedure", spec.Procedure, logging.KeyError, err)
		}
		return domain.toConnect().WithCause(err)
	}
	if local, ok := errors.AsType[*connect.Error](err); ok && !local.IsRemote() {
		if violations, ok := errors.AsType[*protovalidate.ValidationError](local); ok {
			return invalidRequest(local, violations)
		}
		return err
	}
	// The caller has gone, or its time is up: nobody's fault.
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return connect.NewError(connect.CodeCanceled, "canceled by the caller").WithCause(err)
	}
	if ctx.Err() != nil && errors.Is(err, context.DeadlineExceeded) {
		return connect.NewError(connect.CodeDeadlineExceeded, "the caller's deadline has passed").WithCause(err)
	}
	logger.ErrorContext(ctx, "rpc failed", "procedure", spec.Procedure, logging.KeyError, err)
	return Internal(ctx).WithCause(err)
}

// Internal returns what a caller is told about a failure that is none of its
// business: where to look it up.
func Internal(ctx context.Context) *connect.Error {
	e := New(connect.CodeInternal, backendv1.ErrorReason_ERROR_REASON_INTERNAL, "internal error", nil)
	if id := logging.IDsOf(ctx).RequestID; id != "" {
		e = New(connect.CodeInternal, backendv1.ErrorReason_ERROR_REASON_INTERNAL, fmt.Sprintf("internal error (request id %s)", id),
			map[string]string{logging.KeyRequestID: id})
	}
	return e.toConnect()
}

func isServerFault(code connect.Code) bool {
	switch code {
	case connect.CodeInternal, connect.CodeUnknown, connect.CodeDataLoss, connect.CodeUnavailable:
		return true
	default:
		return false
	}
}

// toConnect makes the wire form; the cause is not part of it.
func (e *Error) toConnect() *connect.Error {
	out := connect.NewError(e.code, e.message)
	out = withDetail(out, &errdetails.ErrorInfo{Reason: ReasonText(e.reason), Domain: Domain, Metadata: e.metadata})
	if len(e.fields) > 0 {
		out = withDetail(out, badRequest(e.fields))
	}
	if e.retryAfter > 0 {
		out = withDetail(out, &errdetails.RetryInfo{RetryDelay: durationpb.New(e.retryAfter)})
	}
	return out
}

// invalidRequest adds google.rpc details to an error of the validate
// interceptor, for clients that know nothing of protovalidate.
func invalidRequest(err *connect.Error, violations *protovalidate.ValidationError) *connect.Error {
	fields := make([]FieldViolation, 0, len(violations.Violations))
	for _, v := range violations.Violations {
		fields = append(fields, FieldViolation{
			Field:       protovalidate.FieldPathString(v.Proto.GetField()),
			Description: v.Proto.GetMessage(),
		})
	}
	out := InvalidFields(fields...).toConnect()
	for _, detail := range err.Details() {
		out = out.WithDetail(detail)
	}
	return out.WithCause(err)
}

func badRequest(fields []FieldViolation) *errdetails.BadRequest {
	detail := &errdetails.BadRequest{}
	for _, f := range fields {
		detail.FieldViolations = append(detail.FieldViolations,
			&errdetails.BadRequest_FieldViolation{Field: f.Field, Description: f.Description})
	}
	return detail
}

func withDetail(err *connect.Error, msg proto.Message) *connect.Error {
	detail, packErr := connectproto.NewErrorDetail(msg)
	if packErr != nil {
		// Only a message with invalid UTF-8 cannot be packed; the error itself
		// still says what matters.
		return err
	}
	return err.WithDetail(detail)
}
