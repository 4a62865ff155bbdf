package tracing_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/grpcclient"
	"github.com/poco-ai/poco/services/internal/rpcserver"
	"github.com/poco-ai/poco/services/internal/tracing"
)

// collector keeps what it is sent, over either protocol.
type collector struct {
	collectorv1.UnimplementedTraceServiceServer

	mu     sync.Mutex
	spans  map[string]*tracev1.Span // by the service's name and the span's kind
	header string
}

func (c *collector) Export(_ context.Context, req *collectorv1.ExportTraceServiceRequest) (*collectorv1.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range req.GetResourceSpans() {
		name := ""
		for _, a := range r.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				name = a.GetValue().GetStringValue()
			}
		}
		for _, scope := range r.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				c.spans[name+" "+span.GetKind().String()] = span
			}
		}
	}
	return &collectorv1.ExportTraceServiceResponse{}, nil
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(r.Body)
	req := new(collectorv1.ExportTraceServiceRequest)
	if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(raw, req) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	c.header = r.Header.Get("Authorization")
	c.mu.Unlock()
	_, _ = c.Export(r.Context(), req)
}

func start(t *testing.T, service string, cfg *configv1.TracingConfig) *tracing.Provider {
	t.Helper()
	p, err := tracing.Start(t.Context(), service, cfg, config.NewSecret("Authorization=Bearer%20x"), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	return p
}

// TestACallIsOneTrace: a call's two ends are spans of one trace, whichever way the
// collector is spoken to.
func TestACallIsOneTrace(t *testing.T) {
	got := &collector{}
	overHTTP := httptest.NewServer(got)
	t.Cleanup(overHTTP.Close)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	overGRPC := grpc.NewServer()
	collectorv1.RegisterTraceServiceServer(overGRPC, got)
	var serving sync.WaitGroup
	serving.Go(func() { _ = overGRPC.Serve(listener) })
	t.Cleanup(func() { overGRPC.Stop(); serving.Wait() })

	for protocol, endpoint := range map[string]string{"http/protobuf": overHTTP.URL, "grpc": "http://" + listener.Addr().String()} {
		t.Run(protocol, func(t *testing.T) {
			got.spans = make(map[string]*tracev1.Span)
			cfg := &configv1.TracingConfig{Endpoint: endpoint, Protocol: protocol}
			near, far := start(t, "near", cfg), start(t, "far", cfg)
			server, err := rpcserver.New(rpcserver.Options{Service: "far", Addrs: []string{"127.0.0.1:0"}, Traces: far})
			require.NoError(t, err)
			require.NoError(t, server.Start())
			conn, err := grpcclient.Dial("http://"+server.Addr().String(), config.Secret{}, near.DialOptions()...)
			require.NoError(t, err)
			_, err = grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
			require.NoError(t, err)
			require.NoError(t, conn.Close())
			require.NoError(t, server.Shutdown(t.Context()))
			require.NoError(t, near.Shutdown(t.Context()))
			require.NoError(t, far.Shutdown(t.Context()))

			client, served := got.spans["poco-near SPAN_KIND_CLIENT"], got.spans["poco-far SPAN_KIND_SERVER"]
			require.NotNil(t, client)
			require.NotNil(t, served)
			require.Equal(t, client.GetTraceId(), served.GetTraceId())
			require.Equal(t, client.GetSpanId(), served.GetParentSpanId())
			require.Equal(t, "grpc.health.v1.Health/Check", served.GetName())
		})
	}
	require.Equal(t, "Bearer x", got.header)
}

// Without a collector there are no traces, and every method says so.
func TestWithoutACollector(t *testing.T) {
	p := start(t, "near", &configv1.TracingConfig{})
	require.False(t, p.On())
	require.Empty(t, p.DialOptions())
	require.NoError(t, p.Shutdown(t.Context()))
}

func TestHeadersThatCannotBeRead(t *testing.T) {
	for _, headers := range []string{"secret", "=secret", "name=%zzsecret", "a=b,secret"} {
		_, err := tracing.Start(t.Context(), "x", &configv1.TracingConfig{Endpoint: "http://localhost:1"}, config.NewSecret(headers), slog.Default())
		require.ErrorContains(t, err, "OTEL_EXPORTER_OTLP_HEADERS")
		require.NotContains(t, err.Error(), "secret")
	}
}
