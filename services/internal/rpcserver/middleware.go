package rpcserver

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync/atomic"

	"github.com/felixge/httpsnoop"
	"github.com/google/uuid"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/strictjson"
)

const (
	// RequestIDHeader names one request; it is echoed.
	RequestIDHeader = "X-Request-ID"
	// TraceIDHeader names what a request belongs to; it is echoed.
	TraceIDHeader = "X-Trace-ID"
	// maxIDLength bounds an id taken from a caller, because it is logged.
	maxIDLength = 128
)

type responseControllerKey struct{}

// middleware gives every request its ids, survives panics and writes the access
// log.
func (s *Server) middleware(next http.Handler) http.Handler {
	next = s.accessLog(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ids := logging.IDs{RequestID: saneID(r.Header.Get(RequestIDHeader)), TraceID: saneID(r.Header.Get(TraceIDHeader))}
		if ids.RequestID == "" {
			ids.RequestID = uuid.NewString()
		}
		if ids.TraceID == "" {
			ids.TraceID = cmp.Or(parentTrace(r), ids.RequestID)
		}
		w.Header().Set(RequestIDHeader, ids.RequestID)
		w.Header().Set(TraceIDHeader, ids.TraceID)
		ctx := logging.WithSubject(logging.WithIDs(r.Context(), ids))
		ctx = context.WithValue(ctx, responseControllerKey{}, http.NewResponseController(w))
		defer func() {
			recovered := recover()
			if recovered == nil {
				return
			}
			if recovered == http.ErrAbortHandler { //nolint:errorlint // a sentinel passed to panic, never wrapped
				panic(recovered)
			}
			s.logger.ErrorContext(ctx, "request panicked", "method", r.Method, "path", r.URL.Path,
				"panic", fmt.Sprint(recovered), "stack", string(debug.Stack()))
			// Without effect when the answer has begun.
			http.Error(w, "internal error (request id "+ids.RequestID+")", http.StatusInternalServerError)
		}()
		r = r.WithContext(strictjson.WithHeader(ctx, r.Header))
		body, err := limitPauses(w, r, s.opts.BodyIdleTimeout)
		if err != nil {
			s.logger.DebugContext(ctx, "a request's pauses cannot be limited", logging.KeyError, err)
		}
		next.ServeHTTP(w, r)
		body.linger()
	})
}

// parentTrace is the trace id of a W3C traceparent header; empty without a
// valid one.
func parentTrace(r *http.Request) string {
	ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	if span := trace.SpanContextFromContext(ctx); span.HasTraceID() {
		return span.TraceID().String()
	}
	return ""
}

// saneID returns an id that is safe to log and to send on, else nothing.
func saneID(id string) string {
	if len(id) > maxIDLength {
		return ""
	}
	for _, c := range []byte(id) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && c != '-' && c != '_' && c != '.' && c != ':' {
			return ""
		}
	}
	return id
}

// callKey is under what the access log notes that a request is an RPC.
type callKey struct{}

// accessLog writes the access log's line of a request that is no RPC; those
// have theirs from the observer.
func (s *Server) accessLog(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.opts.AccessLog() {
			next.ServeHTTP(w, r)
			return
		}
		isCall := new(atomic.Bool)
		ctx := context.WithValue(r.Context(), callKey{}, isCall)
		m := httpsnoop.CaptureMetrics(next, w, r.WithContext(ctx))
		if !isCall.Load() {
			s.logger.InfoContext(ctx, "http", "method", r.Method, "path", r.URL.Path, "status", m.Code,
				"bytes", m.Written, "duration_ms", float64(m.Duration.Microseconds())/1000, "peer", r.RemoteAddr)
		}
	})
}
