package logging

import "context"

// Keys of attributes, the same in every log line of every service.
const (
	KeyService    = "service"
	KeyRunID      = "run_id"
	KeySessionID  = "session_id"
	KeyRequestID  = "request_id"
	KeyTraceID    = "trace_id"
	KeyWorkerID   = "worker_id"
	KeyExecutorID = "executor_id"
	KeyUserID     = "user_id"
	KeyError      = "error"
)

// IDs accompany a request through the services.
type IDs struct {
	// RequestID names one request.
	RequestID string
	// TraceID names what the request belongs to.
	TraceID string
}

type idsKey struct{}

// WithIDs returns a context whose log lines and outgoing calls carry the ids.
func WithIDs(ctx context.Context, ids IDs) context.Context {
	return context.WithValue(ctx, idsKey{}, ids)
}

// IDsOf returns the ids of a context; zero when it has none.
func IDsOf(ctx context.Context) IDs {
	ids, _ := ctx.Value(idsKey{}).(IDs)
	return ids
}
