package rpcserver

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// observer counts and times every RPC and writes the access log.
func (s *Server) observer() (connect.ServerInterceptor, error) {
	handled := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "poco_rpc_handled_total", Help: "RPCs that have ended, by outcome.",
	}, []string{"procedure", "code"})
	duration := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "poco_rpc_duration_seconds", Help: "Time from the start of an RPC to its end, by outcome. Streams count as a whole.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"procedure", "code"})
	inFlight := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "poco_rpc_in_flight", Help: "RPCs under way.",
	}, []string{"procedure"})

	registerer := s.opts.Registerer
	if registerer == nil {
		registerer = s.registry
	}
	for _, c := range []prometheus.Collector{handled, duration, inFlight} {
		if err := registerer.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	for _, c := range []prometheus.Collector{
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := s.registry.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}

	return func(next connect.ServerFunc) connect.ServerFunc {
		return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
			procedure := spec.Procedure
			if spec.Schema == nil {
				procedure = "unknown" // as the caller wrote it: unbounded
			}
			gauge := inFlight.WithLabelValues(procedure)
			gauge.Inc()
			defer gauge.Dec()
			isCall, logged := ctx.Value(callKey{}).(*atomic.Bool)
			if logged {
				isCall.Store(true)
			}
			start := time.Now()
			err := next(ctx, spec, stream)
			took := time.Since(start)
			handled.WithLabelValues(procedure, codeName(err)).Inc()
			duration.WithLabelValues(procedure, codeName(err)).Observe(took.Seconds())
			if logged {
				s.logCall(ctx, spec, took, err)
			}
			return err
		}
	}, nil
}

// gatherer is what /metrics shows.
func (s *Server) gatherer() prometheus.Gatherer {
	if g, ok := s.opts.Registerer.(prometheus.Gatherer); ok {
		return prometheus.Gatherers{s.registry, g}
	}
	return s.registry
}
