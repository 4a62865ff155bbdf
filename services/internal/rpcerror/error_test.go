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
		reason  string
		logged  bool
	}{
		"not found":        {nil, rpcerror.NotFound("session", "s1"), connect.CodeNotFound, `session "s1" not found`, "NOT_FOUND", false},
		"wrapped":          {nil, fmt.Errorf("get: %w", rpcerror.OutOfRange("CURSOR_AHEAD", "too far", nil)), connect.CodeOutOfRange, "too far", "CURSOR_AHEAD", false},
		"caller's fault":   {nil, rpcerror.AlreadyExists("IDEMPOTENCY_MISMATCH", "exists").WithCause(cause), connect.CodeAlreadyExists, "exists", "IDEMPOTENCY_MISMATCH", false},
		"our fault":        {nil, rpcerror.Unavailable("DATABASE_AWAY", "try again").WithCause(cause), connect.CodeUnavailable, "try again", "DATABASE_AWAY", true},
		"unknown":          {nil, cause, connect.CodeInternal, "internal error", "INTERNAL", true},
		"connect":          {nil, connect.NewError(connect.CodeAborted, "m"), connect.CodeAborted, "m", "", false},
		"remote connect":   {nil, connect.NewError(connect.CodeAborted, "theirs").WithRemote(), connect.CodeInternal, "internal error", "INTERNAL", true},
		"remote gRPC":      {nil, status.Error(codes.NotFound, "theirs"), connect.CodeInternal, "internal error", "INTERNAL", true},
		"caller gone":      {canceled, fmt.Errorf("query: %w", context.Canceled), connect.CodeCanceled, "canceled by the caller", "", false},
		"our own deadline": {nil, context.DeadlineExceeded, connect.CodeInternal, "internal error", "INTERNAL", true},
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
	require.Equal(t, "RUN_SEQ_GAP", rpcerror.Reason(received))
	require.Equal(t, "7", rpcerror.Metadata(received)["expected_run_seq"])
	require.Equal(t, connect.CodeFailedPrecondition, rpcerror.CodeOf(received))

	domain := rpcerror.FailedPrecondition("R", "m", map[string]string{"k": "v"})
	require.Equal(t, "R", rpcerror.Reason(domain))
	require.Equal(t, "v", rpcerror.Metadata(domain)["k"])
	require.Equal(t, "m", rpcerror.Message(domain))

	plain := errors.New("plain")
	require.Empty(t, rpcerror.Reason(plain))
	require.Empty(t, rpcerror.Reason(nil))
	require.Nil(t, rpcerror.Metadata(plain))
	require.Equal(t, connect.CodeUnknown, rpcerror.CodeOf(plain))
	require.Equal(t, "plain", rpcerror.Message(plain))
}
