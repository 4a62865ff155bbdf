package rpcserver

import (
	"context"
	"strings"
	"time"

	"connectrpc.com/connect/v2"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// healthInterval is how often a watched service's readiness is looked at.
const healthInterval = 5 * time.Second

// healthService is grpc.health.v1.Health over Connect. There is no generated
// Connect code of it, so its methods are bound to their descriptors here.
type healthService struct {
	server   *Server
	interval time.Duration
}

func newHealthService(s *Server) *healthService {
	return &healthService{server: s, interval: healthInterval}
}

func (h *healthService) register(server *connect.Server) {
	methods := healthv1.File_grpc_health_v1_health_proto.Services().ByName("Health").Methods()
	server.Register(
		connect.Method{
			Spec: connect.Spec{
				Procedure:        healthv1.Health_Check_FullMethodName,
				Schema:           methods.ByName("Check"),
				StreamType:       connect.StreamTypeUnary,
				IdempotencyLevel: connect.IdempotencyNoSideEffects,
			},
			Handler: h.check,
		},
		connect.Method{
			Spec: connect.Spec{
				Procedure:  healthv1.Health_Watch_FullMethodName,
				Schema:     methods.ByName("Watch"),
				StreamType: connect.StreamTypeServer,
			},
			Handler: h.watch,
		},
	)
}

func (h *healthService) check(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
	var req healthv1.HealthCheckRequest
	if err := stream.Receive(&req); err != nil {
		return err
	}
	if !h.knows(req.GetService()) {
		return rpcerror.NotFound("service", req.GetService())
	}
	return stream.Send(&healthv1.HealthCheckResponse{Status: h.status(ctx, req.GetService())})
}

// watch sends the state at once and every change of it, as
// https://github.com/grpc/grpc/blob/master/doc/health-checking.md says.
func (h *healthService) watch(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
	var req healthv1.HealthCheckRequest
	if err := stream.Receive(&req); err != nil {
		return err
	}
	ticker := time.NewTicker(h.interval)
	defer ticker.Stop()
	last := healthv1.HealthCheckResponse_UNKNOWN
	for {
		// Looked at first, so that the last status is sent after the end.
		ended := ctx.Err() != nil
		if status := h.status(ctx, req.GetService()); status != last {
			last = status
			if err := stream.Send(&healthv1.HealthCheckResponse{Status: status}); err != nil {
				return err
			}
		}
		if ended {
			return context.Cause(ctx)
		}
		select {
		case <-ctx.Done(): // once more round, to send NOT_SERVING while draining
		case <-ticker.C:
		}
	}
}

func (h *healthService) status(ctx context.Context, service string) healthv1.HealthCheckResponse_ServingStatus {
	if !h.knows(service) {
		return healthv1.HealthCheckResponse_SERVICE_UNKNOWN
	}
	if h.server.ready(ctx) != nil {
		return healthv1.HealthCheckResponse_NOT_SERVING
	}
	return healthv1.HealthCheckResponse_SERVING
}

// knows tells whether a service is registered; the empty name is the server as
// a whole.
func (h *healthService) knows(service string) bool {
	if service == "" {
		return true
	}
	for spec := range h.server.connect.Specs() {
		if strings.HasPrefix(spec.Procedure, "/"+service+"/") {
			return true
		}
	}
	return false
}
