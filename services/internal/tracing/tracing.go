// Package tracing sends traces of a service's calls to an OpenTelemetry
// collector.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/version"
)

// Propagator carries a trace from call to call, in the header of the W3C.
var Propagator propagation.TextMapPropagator = propagation.TraceContext{}

// Provider makes the spans of one service. The nil Provider makes none, and costs
// nothing.
type Provider struct{ sdk *sdktrace.TracerProvider }

// Start returns a service's provider: nil when there is no collector. It does not
// wait for the collector. Shutdown sends what is left.
func Start(ctx context.Context, service string, cfg *configv1.TracingConfig, headers config.Secret, logger *slog.Logger) (*Provider, error) {
	if cfg.GetEndpoint() == "" {
		return nil, nil
	}
	parsed, err := parseHeaders(headers.Reveal())
	if err != nil {
		return nil, err
	}
	exporter, err := otlptrace.New(ctx, client(cfg, parsed))
	if err != nil {
		return nil, fmt.Errorf("open the exporter of traces: %w", err)
	}
	logErrors(logger)
	attributes, err := resource.Merge(resource.Default(), resource.NewSchemaless(
		attribute.String("service.name", "poco-"+service), attribute.String("service.version", version.String()),
	))
	if err != nil {
		return nil, fmt.Errorf("describe the service: %w", err)
	}
	return &Provider{sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(attributes))}, nil
}

func client(cfg *configv1.TracingConfig, headers map[string]string) otlptrace.Client {
	if cfg.GetProtocol() == "grpc" {
		return otlptracegrpc.NewClient(otlptracegrpc.WithEndpointURL(cfg.GetEndpoint()), otlptracegrpc.WithHeaders(headers))
	}
	// By the specification, the path of traces comes after that of the endpoint.
	return otlptracehttp.NewClient(otlptracehttp.WithEndpointURL(strings.TrimSuffix(cfg.GetEndpoint(), "/")+"/v1/traces"), otlptracehttp.WithHeaders(headers))
}

// parseHeaders reads OTEL_EXPORTER_OTLP_HEADERS. Its error repeats no value.
func parseHeaders(s string) (map[string]string, error) {
	headers := make(map[string]string)
	for i, pair := range strings.Split(s, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if name = strings.TrimSpace(name); !ok || name == "" || err != nil {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_HEADERS: header %d has to look like name=value, with the value percent-encoded", i+1)
		}
		headers[name] = value
	}
	return headers, nil
}

// logErrors has what the SDK cannot send logged, with the first service that
// starts in a process.
var logErrors = func() func(*slog.Logger) {
	var once sync.Once
	return func(logger *slog.Logger) {
		once.Do(func() {
			otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { logger.Warn("send traces", logging.KeyError, err) }))
		})
	}
}()

// On tells whether there are any traces.
func (p *Provider) On() bool { return p != nil }

// Tracers returns what spans are made with. It is not to be called without traces.
func (p *Provider) Tracers() trace.TracerProvider { return p.sdk }

// DialOptions are those of a connection whose calls belong to traces.
func (p *Provider) DialOptions() []grpc.DialOption {
	if p == nil {
		return nil
	}
	return []grpc.DialOption{grpc.WithStatsHandler(otelgrpc.NewClientHandler(
		otelgrpc.WithTracerProvider(p.sdk), otelgrpc.WithPropagators(Propagator),
	))}
}

// Shutdown sends what is left, and ends.
func (p *Provider) Shutdown(ctx context.Context) error {
	if p == nil {
		return nil
	}
	if err := p.sdk.Shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("send the last traces: %w", err)
	}
	return nil
}
