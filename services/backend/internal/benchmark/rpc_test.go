package benchmark

import (
	"context"
	"net/http"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"github.com/stretchr/testify/require"

	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/gen/go/poco/queue/v1/queuev1connect"
	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/rpcserver"
	"github.com/poco-ai/poco/services/internal/testkit"
)

// callTime is how long calls are made.
const callTime = 3 * time.Second

// acknowledging answers without doing anything.
type acknowledging struct {
	queuev1connect.UnimplementedRunQueueServiceHandler
}

// AppendRunEvents implements RunQueueService.
func (acknowledging) AppendRunEvents(_ context.Context, req *queuev1.AppendRunEventsRequest) (*queuev1.AppendRunEventsResponse, error) {
	return &queuev1.AppendRunEventsResponse{AckedRunSeq: int64(len(req.GetEvents()))}, nil
}

// BenchmarkCalls is how many calls a second a server answers that does nothing,
// with all that surrounds a call of the backend's and without.
func BenchmarkCalls(b *testing.B) {
	b.Run("poco", func(b *testing.B) {
		token := config.NewSecret(internalToken)
		server, err := rpcserver.New(rpcserver.Options{
			Service: "backend", Addrs: []string{"127.0.0.1:0"}, InternalToken: token,
			Interceptors: []connect.ServerInterceptor{
				auth.BearerInterceptor(auth.ServiceMatcher("poco.queue.v1."), auth.StaticToken(token)),
				auth.UserInterceptor(token),
			},
		})
		require.NoError(b, err)
		queuev1connect.RegisterRunQueueServiceHandler(server.Connect(), acknowledging{})
		require.NoError(b, server.Start())
		b.Cleanup(func() { require.NoError(b, server.Shutdown(context.Background())) })
		benchmarkCalls(b, "http://"+server.Addr().String())
	})
	b.Run("bare", func(b *testing.B) {
		server := connect.NewServer()
		queuev1connect.RegisterRunQueueServiceHandler(server, acknowledging{})
		mux := http.NewServeMux()
		connecthttp.Mount(mux, server)
		protocols := new(http.Protocols)
		protocols.SetUnencryptedHTTP2(true)
		listener := testkit.Listener(b)
		plain := &http.Server{Handler: mux, Protocols: protocols, ReadHeaderTimeout: time.Minute}
		go func() { _ = plain.Serve(listener) }() // until it is closed
		b.Cleanup(func() { require.NoError(b, plain.Close()) })
		benchmarkCalls(b, "http://"+listener.Addr().String())
	})
}

func benchmarkCalls(b *testing.B, url string) {
	client := queuev1.NewRunQueueServiceClient(dial(b, url))
	req := &queuev1.AppendRunEventsRequest{
		RunId: "0198a1b2-0000-7000-8000-000000000000", FencingToken: 1, Events: []*executorv1.RunEvent{event(1, message())},
	}
	for b.Loop() {
		b.ReportMetric(during(b, talkers, callTime, func(ctx context.Context, _, _ int) error {
			_, err := client.AppendRunEvents(ctx, req)
			return err
		}), "calls/s")
	}
}
