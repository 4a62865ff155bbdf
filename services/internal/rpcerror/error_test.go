package rpcerror_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectproto"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// wire runs an error through the interceptor.
func wire(ctx context.Context, err error) (string, error) {
	var log bytes.Buffer
	interceptor := rpcerror.Interceptor(slog.New(slog.NewTextHandler(&log, nil)))
	out := interceptor(func(context.Context, connect.Spec, connect.ServerStream) error { return err })(ctx, connect.Spec{Procedure: "/p"}, nil)
	return log.String(), out
}

func TestInterceptor(t *testing.T) {
	cause := errors.New("the cause")
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	tests := map[string]struct {
		ctx     context.Context
		err     error
		code    connect.Code
		message string
		reason  backendv1.ErrorReason
		logged  bool
	}{
		"not found":        {nil, rpcerror.NotFound("session", "s1"), connect.CodeNotFound, `session "s1" not found`, backendv1.ErrorReason_ERROR_REASON_NOT_FOUND, false},
		"wrapped":          {nil, fmt.Errorf("get: %w", rpcerror.OutOfRange(backendv1.ErrorReason_ERROR_REASON_CURSOR_AHEAD, "too far", nil)), connect.CodeOutOfRange, "too far", backendv1.ErrorReason_ERROR_REASON_CURSOR_AHEAD, false},
		"caller's fault":   {nil, rpcerror.AlreadyExists(backendv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_MISMATCH, "exists").WithCause(cause), connect.CodeAlreadyExists, "exists", backendv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_MISMATCH, false},
		"our fault":        {nil, rpcerror.Unavailable(backendv1.ErrorReason_ERROR_REASON_DATABASE_UNAVAILABLE, "try again").WithCause(cause), connect.CodeUnavailable, "try again", backendv1.ErrorReason_ERROR_REASON_DATABASE_UNAVAILABLE, true},
		"unknown":          {nil, cause, connect.CodeInternal, "internal error", backendv1.ErrorReason_ERROR_REASON_INTERNAL, true},
		"connect":          {nil, connect.NewError(connect.CodeAborted, "m"), connect.CodeAborted, "m", 0, false},
		"remote connect":   {nil, connect.NewError(connect.CodeAborted, "theirs").WithRemote(), connect.CodeInternal, "internal error", backendv1.ErrorReason_ERROR_REASON_INTERNAL, true},
		"remote gRPC":      {nil, status.Error(codes.NotFound, "theirs"), connect.CodeInternal, "internal error", backendv1.ErrorReason_ERROR_REASON_INTERNAL, true},
		"caller gone":      {canceled, fmt.Errorf("query: %w", context.Canceled), connect.CodeCanceled, "canceled by the caller", 0, false},
		"our own deadline": {nil, context.DeadlineExceeded, connect.CodeInternal, "internal error", backendv1.ErrorReason_ERROR_REASON_INTERNAL, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			ctx := test.ctx
			if ctx == nil {
				ctx = t.Context()
			}
			log, err := wire(ctx, test.err)
			var out *connect.Error
			require.ErrorAs(t, err, &out)
			require.Equal(t, test.code, out.Code())
			require.Equal(t, test.message, out.Message())
			require.Equal(t, test.reason, rpcerror.Reason(out))
			require.Equal(t, test.logged, log != "", log)
		})
	}
	_, err := wire(t.Context(), nil)
	require.NoError(t, err)
}

func TestDetails(t *testing.T) {
	_, err := wire(t.Context(), rpcerror.InvalidFields(
		rpcerror.FieldViolation{Field: "prompt", Description: "must not be empty"},
		rpcerror.FieldViolation{Field: "config.model", Description: "is unknown"},
	))
	var out *connect.Error
	require.ErrorAs(t, err, &out)
	require.Equal(t, "prompt: must not be empty; config.model: is unknown", out.Message())
	var fields []string
	for _, detail := range out.Details() {
		msg, err := connectproto.UnmarshalErrorDetail(detail)
		require.NoError(t, err)
		switch d := msg.(type) {
		case *errdetails.ErrorInfo:
			require.Equal(t, "poco.ai", d.GetDomain())
			require.Equal(t, "INVALID_ARGUMENT", d.GetReason())
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				fields = append(fields, v.GetField())
			}
		}
	}
	require.Equal(t, []string{"prompt", "config.model"}, fields)
}

func TestReceivedErrors(t *testing.T) {
	st, err := status.New(codes.FailedPrecondition, "gap").WithDetails(&errdetails.ErrorInfo{
		Reason: "RUN_SEQ_GAP", Domain: rpcerror.Domain, Metadata: map[string]string{"expected_run_seq": "7"},
	})
	require.NoError(t, err)
	received := fmt.Errorf("append: %w", st.Err())
	require.Equal(t, backendv1.ErrorReason_ERROR_REASON_RUN_SEQ_GAP, rpcerror.Reason(received))
	require.Equal(t, "7", rpcerror.Metadata(received)["expected_run_seq"])
	require.Equal(t, connect.CodeFailedPrecondition, rpcerror.CodeOf(received))

	domain := rpcerror.FailedPrecondition(backendv1.ErrorReason_ERROR_REASON_EXPORT_PENDING, "m", map[string]string{"k": "v"})
	require.Equal(t, backendv1.ErrorReason_ERROR_REASON_EXPORT_PENDING, rpcerror.Reason(domain))
	require.Equal(t, "v", rpcerror.Metadata(domain)["k"])
	require.Equal(t, "m", rpcerror.Message(domain))

	plain := errors.New("plain")
	require.Zero(t, rpcerror.Reason(plain))
	require.Zero(t, rpcerror.Reason(nil))
	require.Nil(t, rpcerror.Metadata(plain))
	require.Equal(t, connect.CodeUnknown, rpcerror.CodeOf(plain))
	require.Equal(t, "plain", rpcerror.Message(plain))
}
