package rpcserver_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/gen/go/poco/backend/v1/backendv1connect"
	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/configservice"
	"github.com/poco-ai/poco/services/internal/rpcerror"
	"github.com/poco-ai/poco/services/internal/rpcserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type tasks struct {
	backendv1connect.UnimplementedTaskServiceHandler
}

func (tasks) EnqueueTask(ctx context.Context, req *backendv1.EnqueueTaskRequest) (*backendv1.EnqueueTaskResponse, error) {
	switch req.GetPrompt() {
	case "panic":
		panic("secret detail")
	case "unknown":
		return nil, errors.New("secret detail")
	case "precondition":
		return nil, rpcerror.FailedPrecondition(backendv1.ErrorReason_ERROR_REASON_RUN_CANCELED, "the run has been canceled", map[string]string{"run_id": "r1"}).
			WithCause(errors.New("secret detail"))
	case "downstream":
		return nil, status.Error(codes.NotFound, "secret detail")
	}
	return &backendv1.EnqueueTaskResponse{RunId: auth.User(ctx)}, nil
}

type sessions struct {
	backendv1connect.UnimplementedSessionServiceHandler
	watching chan struct{}
}

func (s sessions) WatchSessions(ctx context.Context, _ *backendv1.WatchSessionsRequest, stream backendv1connect.SessionServiceWatchSessionsServerStream) error {
	if err := stream.SendHeaders(); err != nil {
		return err
	}
	close(s.watching)
	<-ctx.Done()
	return ctx.Err()
}

func settings(t *testing.T) configservice.Config {
	t.Helper()
	loaded, err := config.Load(&configv1.FrontendConfig{}, "frontend", config.Sources{Environ: []string{"BACKEND_URL=http://localhost:1"}})
	require.NoError(t, err)
	return loaded
}

func start(t *testing.T, change func(*rpcserver.Options)) (*rpcserver.Server, sessions) {
	t.Helper()
	opts := rpcserver.Options{
		Service:       "test",
		Addrs:         []string{"127.0.0.1:0"},
		InternalToken: config.NewSecret("internal"),
		Config:        settings(t),
		Interceptors:  []connect.ServerInterceptor{auth.UserInterceptor(config.NewSecret("internal"))},
	}
	if change != nil {
		change(&opts)
	}
	server, err := rpcserver.New(opts)
	require.NoError(t, err)
	watch := sessions{watching: make(chan struct{})}
	backendv1connect.RegisterTaskServiceHandler(server.Connect(), tasks{})
	backendv1connect.RegisterSessionServiceHandler(server.Connect(), watch)
	server.Handle("GET /boom", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("secret detail") }))
	require.NoError(t, server.Start())
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		require.NoError(t, server.Shutdown(context.Background()))
	})
	return server, watch
}

func dial(t *testing.T, server *rpcserver.Server) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(server.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return conn
}

func get(t *testing.T, server *rpcserver.Server, path string) (int, string) {
	t.Helper()
	res, err := http.Get("http://" + server.Addr().String() + path)
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(body)
}

// post calls over Connect's JSON.
func post(t *testing.T, server *rpcserver.Server, procedure, body string, headers ...string) (*http.Response, map[string]any) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, "http://"+server.Addr().String()+procedure, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	var out map[string]any
	require.NoError(t, json.NewDecoder(res.Body).Decode(&out))
	return res, out
}

const enqueue = "/poco.backend.v1.TaskService/EnqueueTask"

func TestErrorsOnTheWire(t *testing.T) {
	server, _ := start(t, nil)
	client := backendv1.NewTaskServiceClient(dial(t, server))
	tests := map[string]struct {
		prompt string
		code   codes.Code
		reason backendv1.ErrorReason
		says   string
	}{
		"panic":        {"panic", codes.Internal, backendv1.ErrorReason_ERROR_REASON_INTERNAL, "internal error (request id id-1)"},
		"unknown":      {"unknown", codes.Internal, backendv1.ErrorReason_ERROR_REASON_INTERNAL, "internal error (request id id-1)"},
		"downstream":   {"downstream", codes.Internal, backendv1.ErrorReason_ERROR_REASON_INTERNAL, "internal error (request id id-1)"},
		"precondition": {"precondition", codes.FailedPrecondition, backendv1.ErrorReason_ERROR_REASON_RUN_CANCELED, "the run has been canceled"},
		"invalid":      {"", codes.InvalidArgument, backendv1.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, "prompt"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			ctx := metadata.AppendToOutgoingContext(t.Context(), "x-request-id", "id-1")
			_, err := client.EnqueueTask(ctx, &backendv1.EnqueueTaskRequest{Prompt: test.prompt})
			require.Equal(t, test.code, status.Code(err), err)
			require.Equal(t, test.reason, rpcerror.Reason(err))
			require.Contains(t, status.Convert(err).Message(), test.says)
			require.NotContains(t, fmt.Sprintf("%+v %v", err, status.Convert(err).Details()), "secret detail")
		})
	}
}

// TestProtocols calls over every protocol and HTTP version the port speaks.
func TestProtocols(t *testing.T) {
	server, _ := start(t, nil)
	h2c := new(http.Protocols)
	h2c.SetUnencryptedHTTP2(true)
	for name, protocols := range map[string]*http.Protocols{"HTTP/1.1": nil, "HTTP/2": h2c} {
		for protocol, option := range map[string]connecthttp.Option{
			"connect": connecthttp.WithProtoJSON(), "gRPC": connecthttp.WithGRPC(), "gRPC-Web": connecthttp.WithGRPCWeb(),
		} {
			if protocol == "gRPC" && protocols == nil {
				continue // gRPC needs HTTP/2
			}
			t.Run(protocol+" over "+name, func(t *testing.T) {
				transport := &http.Transport{Protocols: protocols}
				defer transport.CloseIdleConnections()
				client := backendv1connect.NewTaskServiceClient(connect.NewClient(connecthttp.NewTransport(
					&http.Client{Transport: transport}, "http://"+server.Addr().String(), option)))
				res, err := client.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{Prompt: "hi"})
				require.NoError(t, err)
				require.Equal(t, "default", res.GetRunId())
				_, err = client.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{})
				require.Equal(t, connect.CodeInvalidArgument, connect.CodeOf(err))
				require.Equal(t, backendv1.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, rpcerror.Reason(err))
			})
		}
	}
}

// TestStreamsAskNotToBeBuffered: what is between here and the client must pass a
// stream on as it comes. TestStreamsThroughProxies does it with real proxies.
func TestStreamsAskNotToBeBuffered(t *testing.T) {
	server, watch := start(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost,
		"http://"+server.Addr().String()+"/poco.backend.v1.SessionService/WatchSessions", strings.NewReader("\x00\x00\x00\x00\x02{}"))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/connect+json")
	response, err := http.DefaultClient.Do(request) // returns with the headers, before any message
	require.NoError(t, err)
	defer response.Body.Close()
	<-watch.watching
	require.Equal(t, "no", response.Header.Get("X-Accel-Buffering"))
	require.Equal(t, "no-cache, no-transform", response.Header.Get("Cache-Control"))
	unary, _ := post(t, server, enqueue, `{"prompt":"hi"}`)
	require.Empty(t, unary.Header.Get("X-Accel-Buffering"))
}

func TestLargeRequests(t *testing.T) {
	server, _ := start(t, nil)
	client := backendv1.NewTaskServiceClient(dial(t, server))
	_, err := client.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{Prompt: strings.Repeat("x", 2<<20)})
	require.Equal(t, codes.InvalidArgument, status.Code(err), "the field's own limit")
	_, err = client.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{Prompt: strings.Repeat("x", 17<<20)})
	require.Equal(t, codes.ResourceExhausted, status.Code(err), "the server's limit")
}

func TestClientsThatNeverFinishARequest(t *testing.T) {
	server, watch := start(t, func(o *rpcserver.Options) { o.BodyIdleTimeout = 50 * time.Millisecond })
	send := func(text string) *bufio.Reader {
		conn, err := net.Dial("tcp", server.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
		_, err = io.WriteString(conn, text)
		require.NoError(t, err)
		return bufio.NewReader(conn)
	}
	// A stream over HTTP/1 is silent for longer than the pauses below.
	r := send("POST /poco.backend.v1.SessionService/WatchSessions HTTP/1.1\r\nHost: localhost\r\n" +
		"Content-Type: application/connect+json\r\nContent-Length: 7\r\n\r\n\x00\x00\x00\x00\x02{}")
	resp, err := http.ReadResponse(r, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	<-watch.watching
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, resp.Body)
		ended <- err
	}()
	for _, path := range []string{"/poco.backend.v1.TaskService/EnqueueTask", "/refused"} {
		r := send("POST " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
		_, err := io.Copy(io.Discard, r)
		require.NoError(t, err, "the server gives up and closes")
	}
	select {
	case err := <-ended:
		t.Fatalf("the stream ended: %v", err)
	default:
	}
	stopping, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	require.NoError(t, server.Shutdown(stopping))
	<-ended
}

func TestInvalidRequestNamesTheField(t *testing.T) {
	server, _ := start(t, nil)
	_, err := backendv1.NewTaskServiceClient(dial(t, server)).EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{})
	var violations []*errdetails.BadRequest_FieldViolation
	for _, detail := range status.Convert(err).Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok {
			violations = append(violations, bad.GetFieldViolations()...)
		}
	}
	require.NotEmpty(t, violations)
	require.Equal(t, "prompt", violations[0].GetField())
}

func TestUser(t *testing.T) {
	server, _ := start(t, nil)
	_, body := post(t, server, enqueue, `{"prompt":"hi"}`)
	require.Equal(t, "default", body["runId"])
	_, body = post(t, server, enqueue, `{"prompt":"hi"}`, "X-User-Id", " anna ", "Authorization", "Bearer internal")
	require.Equal(t, "anna", body["runId"])
	// Before decoding: the body is not even JSON.
	res, body := post(t, server, enqueue, `{`, "X-User-Id", "anna")
	require.Equal(t, http.StatusUnauthorized, res.StatusCode)
	require.Equal(t, "unauthenticated", body["code"])
}

func TestRequestIDs(t *testing.T) {
	server, _ := start(t, nil)
	res, _ := post(t, server, enqueue, `{"prompt":"hi"}`, "X-Request-ID", "abc.1", "X-Trace-ID", "t-1")
	require.Equal(t, []string{"abc.1", "t-1"}, []string{res.Header.Get("X-Request-ID"), res.Header.Get("X-Trace-ID")})
	const traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	res, _ = post(t, server, enqueue, `{"prompt":"hi"}`, "traceparent", "00-"+traceID+"-00f067aa0ba902b7-01")
	require.Equal(t, traceID, res.Header.Get("X-Trace-ID"), "that of W3C's trace context")
	res, _ = post(t, server, enqueue, `{"prompt":"hi"}`, "X-Request-ID", "a b\tc")
	require.Len(t, res.Header.Get("X-Request-ID"), 36)
}

func TestEndpoints(t *testing.T) {
	ready := errors.New("Postgres does not answer")
	server, _ := start(t, func(o *rpcserver.Options) { o.Ready = func(context.Context) error { return ready } })
	code, _ := get(t, server, "/healthz")
	require.Equal(t, http.StatusOK, code)
	code, body := get(t, server, "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Contains(t, body, `"reason":"Postgres does not answer"`)
	post(t, server, enqueue, `{"prompt":"hi"}`)
	_, body = get(t, server, "/metrics")
	require.Contains(t, body, `poco_rpc_handled_total{code="ok",procedure="/poco.backend.v1.TaskService/EnqueueTask"} 1`)
	require.Contains(t, body, "go_goroutines")
	code, body = get(t, server, "/boom")
	require.Equal(t, http.StatusInternalServerError, code)
	require.NotContains(t, body, "secret detail")
}

func TestHealth(t *testing.T) {
	server, _ := start(t, nil)
	client := healthv1.NewHealthClient(dial(t, server))
	for _, service := range []string{"", "poco.backend.v1.TaskService", "poco.config.v1.ConfigService"} {
		res, err := client.Check(t.Context(), &healthv1.HealthCheckRequest{Service: service})
		require.NoError(t, err)
		require.Equal(t, healthv1.HealthCheckResponse_SERVING, res.GetStatus())
	}
	_, err := client.Check(t.Context(), &healthv1.HealthCheckRequest{Service: "no.Such"})
	require.Equal(t, codes.NotFound, status.Code(err))

	watch, err := client.Watch(t.Context(), &healthv1.HealthCheckRequest{})
	require.NoError(t, err)
	res, err := watch.Recv()
	require.NoError(t, err)
	require.Equal(t, healthv1.HealthCheckResponse_SERVING, res.GetStatus())
	require.NoError(t, server.Shutdown(t.Context()))
	res, err = watch.Recv()
	require.NoError(t, err)
	require.Equal(t, healthv1.HealthCheckResponse_NOT_SERVING, res.GetStatus())
	_, err = watch.Recv()
	require.Equal(t, codes.Unavailable, status.Code(err))
}

func TestReflection(t *testing.T) {
	server, _ := start(t, nil)
	stream, err := reflectionv1.NewServerReflectionClient(dial(t, server)).ServerReflectionInfo(t.Context())
	require.NoError(t, err)
	require.NoError(t, stream.Send(&reflectionv1.ServerReflectionRequest{
		MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{},
	}))
	res, err := stream.Recv()
	require.NoError(t, err)
	var names []string
	for _, s := range res.GetListServicesResponse().GetService() {
		names = append(names, s.GetName())
	}
	require.Subset(t, names, []string{
		"poco.backend.v1.TaskService", "grpc.health.v1.Health", "poco.config.v1.ConfigService",
		"grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection",
	})
}

func TestShutdownEndsStreams(t *testing.T) {
	server, watch := start(t, nil)
	conn := dial(t, server)
	stream, err := backendv1.NewSessionServiceClient(conn).WatchSessions(t.Context(), &backendv1.WatchSessionsRequest{})
	require.NoError(t, err)
	<-watch.watching
	// A stream whose handler waits for its client.
	reflection, err := reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	require.NoError(t, err)
	require.NoError(t, reflection.Send(&reflectionv1.ServerReflectionRequest{
		MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{},
	}))
	_, err = reflection.Recv()
	require.NoError(t, err)

	require.NoError(t, server.Shutdown(t.Context()))
	<-server.Draining()
	_, err = stream.Recv()
	require.Equal(t, codes.Unavailable, status.Code(err), err)
	require.Equal(t, backendv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN, rpcerror.Reason(err))
	_, err = reflection.Recv()
	require.Equal(t, codes.Unavailable, status.Code(err), err)
}

func TestBusyPort(t *testing.T) {
	first, _ := start(t, nil)
	second, err := rpcserver.New(rpcserver.Options{Service: "second", Addrs: []string{"127.0.0.1:0", first.Addr().String()}})
	require.NoError(t, err)
	require.EqualError(t, second.Start(), "address "+first.Addr().String()+" is already in use")
}

func TestSeveralAddresses(t *testing.T) {
	server, err := rpcserver.New(rpcserver.Options{Service: "two", Addrs: []string{"127.0.0.1:0", "127.0.0.2:0"}})
	require.NoError(t, err)
	require.NoError(t, server.Start())
	require.Contains(t, server.Addr().String(), "127.0.0.1:")
	require.NoError(t, server.Shutdown(t.Context()))
}
