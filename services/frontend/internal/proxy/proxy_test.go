package proxy_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/gen/go/poco/backend/v1/backendv1connect"
	"github.com/poco-ai/poco/services/frontend/internal/proxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// backend streams one event for each signal of next, and records headers.
type backend struct {
	backendv1connect.UnimplementedSessionServiceHandler
	next    chan struct{}
	gone    chan struct{}
	headers chan http.Header
}

func (b *backend) WatchSession(ctx context.Context, _ *backendv1.WatchSessionRequest, stream backendv1connect.SessionServiceWatchSessionServerStream) error {
	defer close(b.gone)
	if err := stream.SendHeaders(); err != nil {
		return err
	}
	for seq := int64(1); ; seq++ {
		select {
		case <-b.next:
		case <-ctx.Done():
			return ctx.Err()
		}
		err := stream.Send(&backendv1.WatchSessionResponse{Kind: &backendv1.WatchSessionResponse_Event{Event: &backendv1.SessionEvent{Seq: seq}}})
		if err != nil {
			return err
		}
	}
}

func (b *backend) GetSession(context.Context, *backendv1.GetSessionRequest) (*backendv1.GetSessionResponse, error) {
	return nil, connect.NewError(connect.CodeNotFound, "session not found")
}

func (b *backend) ListSessions(context.Context, *backendv1.ListSessionsRequest) (*backendv1.ListSessionsResponse, error) {
	return &backendv1.ListSessionsResponse{NextPageToken: "t"}, nil
}

// start returns the URL of a proxy in front of a cleartext HTTP/2 backend.
func start(t *testing.T) (string, *backend) {
	t.Helper()
	b := &backend{next: make(chan struct{}), gone: make(chan struct{}), headers: make(chan http.Header, 10)}
	rpc := connect.NewServer()
	backendv1connect.RegisterSessionServiceHandler(rpc, b)
	mux := http.NewServeMux()
	connecthttp.Mount(mux, rpc)
	upstream := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			http.Error(w, "HTTP/2 expected", http.StatusHTTPVersionNotSupported)
			return
		}
		b.headers <- r.Header.Clone()
		mux.ServeHTTP(w, r)
	}))
	upstream.Config.Protocols = new(http.Protocols)
	upstream.Config.Protocols.SetHTTP1(true)
	upstream.Config.Protocols.SetUnencryptedHTTP2(true)
	upstream.Start()
	t.Cleanup(upstream.Close)
	return serve(t, upstream.URL), b
}

func serve(t *testing.T, backendURL string) string {
	t.Helper()
	handler, err := proxy.New(backendURL, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return server.URL + proxy.Prefix
}

func post(t *testing.T, url string, header http.Header) (int, map[string]string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("{}"))
	require.NoError(t, err)
	if header != nil {
		request.Header = header
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	answer := map[string]string{}
	require.NoError(t, json.Unmarshal(body, &answer), "body %q", body)
	return response.StatusCode, answer
}

func get(t *testing.T, url string, header http.Header) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	if header != nil {
		request.Header = header
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(body)
}

func TestStreamIsPassedOnMessageByMessage(t *testing.T) {
	url, backend := start(t)
	client := backendv1connect.NewSessionServiceClient(connect.NewClient(connecthttp.NewTransport(http.DefaultClient, url)))
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := client.WatchSession(ctx, &backendv1.WatchSessionRequest{SessionId: "0b9ff2ea-9d0b-4f2c-8f57-0f3c1a9d1f6a"})
	require.NoError(t, err)
	// The backend sends the next event only after this one was received: a
	// proxy that buffers would hang here.
	for seq := int64(1); seq <= 3; seq++ {
		backend.next <- struct{}{}
		message, err := stream.Receive()
		require.NoError(t, err)
		require.Equal(t, seq, message.GetEvent().GetSeq())
	}
	cancel()
	<-backend.gone // the browser's end reaches the backend
	require.NoError(t, stream.Close())
}

func TestBrowserCannotSayWhoItIs(t *testing.T) {
	url, backend := start(t)
	status, answer := post(t, url+"/poco.backend.v1.SessionService/ListSessions", http.Header{
		"X-User-Id": {"mallory"}, "Authorization": {"Bearer page"}, "Cookie": {"other=service"}, "X-Forwarded-For": {"127.0.0.1"}, "X-Request-Id": {"r1"},
	})
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "t", answer["nextPageToken"])
	header := <-backend.headers
	require.Empty(t, header.Values("X-User-Id"))
	require.Equal(t, []string{"Bearer page"}, header.Values("Authorization"), "the backend judges it")
	require.Empty(t, header.Values("Cookie"), "those of other services on this host are not the backend's business")
	require.Equal(t, []string{"127.0.0.1"}, header.Values("X-Forwarded-For"), "the real peer only")
	require.NotEmpty(t, header.Get("X-Forwarded-Host"))
	require.Equal(t, "http", header.Get("X-Forwarded-Proto"))
	require.Equal(t, "r1", header.Get("X-Request-Id"))
}

func TestErrorsOfTheBackendArrive(t *testing.T) {
	url, _ := start(t)
	status, answer := post(t, url+"/poco.backend.v1.SessionService/GetSession", nil)
	require.Equal(t, http.StatusNotFound, status)
	require.Equal(t, "session not found", answer["message"])
}

func TestOnlyPublicProceduresAreReached(t *testing.T) {
	url, backend := start(t)
	for _, path := range []string{
		"/poco.queue.v1.RunQueueService/ClaimRuns",
		"/poco.config.v1.ConfigService/GetConfig",
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
		"/metrics", "/readyz", "/",
		"/poco.backend.v1.SessionService/../../metrics",
		"/poco.backend.v1.X%2fY/Z",
		"/poco.backend.v1.SessionService/GetSession/more",
		"//poco.backend.v1.SessionService/GetSession",
		"/poco.backend.v12.SessionService/GetSession",
	} {
		t.Run(path, func(t *testing.T) {
			status, answer := post(t, url+path, nil)
			require.Equal(t, http.StatusNotFound, status)
			require.Equal(t, "not_found", answer["code"])
			require.Empty(t, backend.headers, "the call reached the backend")
		})
	}
}

func TestPagesOfOtherSitesAreRefused(t *testing.T) {
	url, backend := start(t)
	status, answer := post(t, url+"/poco.backend.v1.TaskService/EnqueueTask", http.Header{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://evil.example"}})
	require.Equal(t, http.StatusForbidden, status)
	require.Equal(t, "permission_denied", answer["code"])
	require.Empty(t, backend.headers)
	status, _ = get(t, url+"/poco.backend.v1.SessionService/ListSessions?encoding=json&message={}", http.Header{"Sec-Fetch-Site": {"cross-site"}})
	require.Equal(t, http.StatusForbidden, status)
	require.Empty(t, backend.headers)
}

func TestReadsWithGet(t *testing.T) {
	url, backend := start(t)
	status, answer := get(t, url+"/poco.backend.v1.SessionService/ListSessions?connect=v1&encoding=json&message=%7B%7D", http.Header{"Authorization": {"Bearer page"}})
	require.Equal(t, http.StatusOK, status)
	require.JSONEq(t, `{"nextPageToken":"t"}`, answer)
	require.Equal(t, "Bearer page", (<-backend.headers).Get("Authorization"))
	status, _ = get(t, url+"/poco.backend.v1.SessionService/DeleteSession?connect=v1&encoding=json&message=%7B%7D", nil)
	require.Equal(t, http.StatusMethodNotAllowed, status)
}

func TestBackendDown(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	status, answer := post(t, serve(t, gone.URL)+"/poco.backend.v1.SessionService/ListSessions", nil)
	require.Equal(t, http.StatusBadGateway, status)
	require.Equal(t, map[string]string{"code": "unavailable", "message": "the backend cannot be reached"}, answer)
}
