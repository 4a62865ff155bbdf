package logging

import (
	"context"
	"log/slog"
	"slices"

	"go.opentelemetry.io/otel/trace"
)

// withIDs adds the ids of the context to every line that has not got them.
type withIDs struct {
	slog.Handler
	// has are the keys of ids that the logger adds by itself.
	has []string
}

// Handle implements slog.Handler.
func (h withIDs) Handle(ctx context.Context, r slog.Record) error {
	ids := IDsOf(ctx)
	if span := trace.SpanContextFromContext(ctx); span.HasTraceID() {
		ids.TraceID = span.TraceID().String()
	}
	runID, sessionID := SubjectOf(ctx)
	if ids.TraceID == "" || ids.TraceID == ids.RequestID { // which says nothing more
		ids.TraceID = TraceOfRun(runID)
	}
	for _, id := range [...]struct{ key, value string }{
		{KeyRequestID, ids.RequestID}, {KeyTraceID, ids.TraceID}, {KeyRunID, runID}, {KeySessionID, sessionID},
	} {
		if id.value != "" && !slices.Contains(h.has, id.key) && !holds(r, id.key) {
			r.AddAttrs(slog.String(id.key, id.value))
		}
	}
	return h.Handler.Handle(ctx, r)
}

// holds tells whether a line has an attribute.
func holds(r slog.Record, key string) (found bool) {
	r.Attrs(func(a slog.Attr) bool {
		found = a.Key == key
		return !found
	})
	return found
}

// WithAttrs implements slog.Handler.
func (h withIDs) WithAttrs(attrs []slog.Attr) slog.Handler {
	has := slices.Clone(h.has)
	for _, a := range attrs {
		switch a.Key {
		case KeyRequestID, KeyTraceID, KeyRunID, KeySessionID:
			has = append(has, a.Key)
		}
	}
	return withIDs{h.Handler.WithAttrs(attrs), has}
}

// WithGroup implements slog.Handler.
func (h withIDs) WithGroup(name string) slog.Handler {
	return withIDs{h.Handler.WithGroup(name), h.has}
}
