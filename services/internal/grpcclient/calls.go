package grpcclient

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/logging"
)

// Metadata keys of the ids; rpcserver reads them as HTTP headers.
const (
	requestIDKey = "x-request-id"
	traceIDKey   = "x-trace-id"
)

// Bearer returns credentials that send a token, over plaintext as well: inside
// a deployment the network is trusted or encrypted below.
func Bearer(token config.Secret) credentials.PerRPCCredentials { return bearer{token} }

type bearer struct{ token config.Secret }

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + b.token.Reveal()}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (b bearer) RequireTransportSecurity() bool { return false }

func sendIDs(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return invoker(withIDs(ctx), method, req, reply, cc, opts...)
}

func sendStreamIDs(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return streamer(withIDs(ctx), desc, cc, method, opts...)
}

// withIDs passes on the ids of the request that this call is made for.
func withIDs(ctx context.Context) context.Context {
	ids := logging.IDsOf(ctx)
	if ids.RequestID != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, requestIDKey, ids.RequestID)
	}
	if ids.TraceID != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, traceIDKey, ids.TraceID)
	}
	return ctx
}
