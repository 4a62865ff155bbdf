package logging

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
)

// Keys of attributes, the same in every log line of every service.
const (
	KeyService    = "service"
	KeyRunID      = "run_id"
	KeySessionID  = "session_id"
	KeyRequestID  = "request_id"
	KeyTraceID    = "trace_id"
	KeyWorkerID   = "worker_id"
	KeyExecutorID = "executor_id"
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

// TraceOfRun is the trace id of all work on a run that nobody asked for with an
// id of his own: the run's id without hyphens, as W3C's trace context writes
// one.
func TraceOfRun(runID string) string { return strings.ReplaceAll(runID, "-", "") }

// OfRun returns a logger for lines about a run.
func OfRun(logger *slog.Logger, runID, sessionID string) *slog.Logger {
	return logger.With(KeyTraceID, TraceOfRun(runID), KeyRunID, runID, KeySessionID, sessionID)
}

// WithRun returns a context of work on a run: lines that are logged with it are
// about the run, and calls made with it carry its trace id.
func WithRun(ctx context.Context, runID, sessionID string) context.Context {
	ctx = WithSubject(WithIDs(ctx, IDs{TraceID: TraceOfRun(runID)}))
	About(ctx, runID, sessionID)
	return ctx
}

// subject is what a request is about, as far as is known.
type subject struct{ runID, sessionID atomic.Pointer[string] }

type subjectKey struct{}

// WithSubject returns a context in which About can note what a request is
// about, for all lines that are logged with it from then on.
func WithSubject(ctx context.Context) context.Context {
	return context.WithValue(ctx, subjectKey{}, new(subject))
}

// About notes which run and session a request is about; an empty id is not
// known. The first that is noted stays.
func About(ctx context.Context, runID, sessionID string) {
	s, ok := ctx.Value(subjectKey{}).(*subject)
	if !ok {
		return
	}
	if runID != "" {
		s.runID.CompareAndSwap(nil, &runID)
	}
	if sessionID != "" {
		s.sessionID.CompareAndSwap(nil, &sessionID)
	}
}

// SubjectOf returns what a request is about; empty where it is not known.
func SubjectOf(ctx context.Context) (runID, sessionID string) {
	s, ok := ctx.Value(subjectKey{}).(*subject)
	if !ok {
		return "", ""
	}
	if id := s.runID.Load(); id != nil {
		runID = *id
	}
	if id := s.sessionID.Load(); id != nil {
		sessionID = *id
	}
	return runID, sessionID
}
