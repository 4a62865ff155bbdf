package rpcserver

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/poco-ai/poco/services/internal/version"
)

// status is the body of /healthz and /readyz.
type status struct {
	// Status is "ok" or "unavailable".
	Status  string `json:"status"`
	Service string `json:"service"`
	Version string `json:"version"`
	// Instance is a random name of this process: who calls a URL can tell whether
	// it leads to the same one.
	Instance string `json:"instance"`
	// Reason says why the service is not ready.
	Reason string `json:"reason,omitempty"`
}

func (s *Server) registerEndpoints() {
	s.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { s.writeStatus(w, nil) })
	s.mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { s.writeStatus(w, s.ready(r.Context())) })
	s.mux.Handle("GET /metrics", promhttp.HandlerFor(s.gatherer(), promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}))
}

// ready says why the service should get no calls; nil when it should.
func (s *Server) ready(ctx context.Context) error {
	if s.drainCtx.Err() != nil {
		return ErrDraining
	}
	if s.opts.Ready == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	return s.opts.Ready(ctx)
}

func (s *Server) writeStatus(w http.ResponseWriter, reason error) {
	body := status{Status: "ok", Service: s.opts.Service, Version: version.String(), Instance: s.instance}
	code := http.StatusOK
	if reason != nil {
		body.Status, body.Reason = "unavailable", reason.Error()
		code = http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	// The only error is that the client has gone.
	_ = json.NewEncoder(w).Encode(body)
}
