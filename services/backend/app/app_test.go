package app_test

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/connect/v2/connectproto"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/poco-ai/poco/db/dbtest"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/gen/go/poco/backend/v1/backendv1connect"
	"github.com/poco-ai/poco/services/backend/app"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/rpcerror"
	"github.com/poco-ai/poco/services/internal/testkit"
)

const internalToken = "internal-token-of-the-test"

// backend is a running backend.
type backend struct {
	listener net.Listener
	url      string
	cancel   context.CancelFunc
	ready    chan string
	done     chan error
	stopped  bool
}

// start runs a backend until the end of the test.
func start(t *testing.T, databaseURL string) *backend {
	t.Helper()
	b := launch(t, databaseURL)
	b.wait(t)
	return b
}

func launch(t *testing.T, databaseURL string, environment ...string) *backend {
	t.Helper()
	s3 := testkit.S3(t)
	cfg, err := app.LoadConfig(config.Sources{Environ: append([]string{
		"DATABASE_URL=" + databaseURL, "SECRET_KEY=secret-key-of-the-test", "INTERNAL_API_TOKEN=" + internalToken,
		"S3_ENDPOINT=" + s3.Config.GetEndpoint(), "S3_BUCKET=" + s3.Config.GetBucket(),
		"S3_ACCESS_KEY=" + s3.AccessKey.Reveal(), "S3_SECRET_KEY=" + s3.SecretKey.Reveal(),
		"CORS_ORIGINS=http://page.example",
	}, environment...)})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	b := &backend{cancel: cancel, ready: make(chan string, 1), done: make(chan error, 1)}
	listener := testkit.Listener(t)
	b.listener = listener
	go func() {
		b.done <- app.Run(ctx, cfg, app.Options{
			Logger: slog.New(slog.DiscardHandler), Listener: listener, Ready: func(baseURL string) { b.ready <- baseURL },
		})
	}()
	t.Cleanup(func() { require.NoError(t, b.stop()) })
	return b
}

func (b *backend) wait(t *testing.T) {
	t.Helper()
	select {
	case b.url = <-b.ready:
	case err := <-b.done:
		b.stopped = true
		require.NoError(t, err)
		t.Fatal("the backend ended")
	}
}

func (b *backend) stop() error {
	b.cancel()
	if b.stopped {
		return nil
	}
	b.stopped = true
	return <-b.done
}

// protocols are all the ways to call the backend.
var protocols = map[string][]connecthttp.Option{
	"connect json": {connecthttp.WithProtoJSON()},
	"connect":      nil,
	"grpc":         {connecthttp.WithGRPC()},
	"grpc-web":     {connecthttp.WithGRPCWeb()},
}

func httpClient(t *testing.T) *http.Client {
	t.Helper()
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: p}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

//go:embed testdata/rpc.json
var rpcCases []byte

type rpcCase struct {
	Name, Method, Token, User string
	Request                   json.RawMessage
	// Code is empty for a call that succeeds.
	Code, Reason, Field string
}

func TestRPCs(t *testing.T) {
	b := start(t, dbtest.URL(t, testkit.Postgres(t)))
	own := backendv1connect.NewTaskServiceClient(connect.NewClient(connecthttp.NewTransport(httpClient(t), b.url)))
	mine, err := own.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{Prompt: "mine"})
	require.NoError(t, err)
	others, err := own.EnqueueTask(as(t.Context(), internalToken, "other"), &backendv1.EnqueueTaskRequest{Prompt: "theirs"})
	require.NoError(t, err)
	fill := strings.NewReplacer("$LONG", strings.Repeat("x", 1<<20+1), "$FITS", strings.Repeat("x", 1<<20), "$TOKEN", internalToken,
		"$OWN_SESSION", mine.GetSessionId(), "$OWN_RUN", mine.GetRunId(), "$OTHERS_SESSION", others.GetSessionId(), "$OTHERS_RUN", others.GetRunId())
	var cases []rpcCase
	require.NoError(t, json.Unmarshal(rpcCases, &cases))

	for protocol, options := range protocols {
		client := connect.NewClient(connecthttp.NewTransport(httpClient(t), b.url, options...))
		for _, c := range cases {
			t.Run(protocol+"/"+c.Name, func(t *testing.T) {
				err := call(t, client, c, fill)
				if c.Code == "" {
					require.NoError(t, err)
					return
				}
				require.Error(t, err)
				require.Equal(t, c.Code, connect.CodeOf(err).String(), "%v", err)
				if c.Reason != "" {
					require.Equal(t, c.Reason, rpcerror.ReasonText(rpcerror.Reason(err)))
				}
				if c.Field != "" {
					require.Contains(t, fields(err), c.Field)
				}
			})
		}
	}
}

// call makes a call that is known by its name only.
func call(t *testing.T, client *connect.Client, c rpcCase, fill *strings.Replacer) error {
	t.Helper()
	desc, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(strings.ReplaceAll(c.Method, "/", ".")))
	require.NoError(t, err)
	method := desc.(protoreflect.MethodDescriptor)
	req, resp := dynamicpb.NewMessage(method.Input()), dynamicpb.NewMessage(method.Output())
	require.NoError(t, protojson.Unmarshal([]byte(fill.Replace(string(c.Request))), req))
	return client.CallUnary(as(t.Context(), fill.Replace(c.Token), c.User), connect.Spec{
		StreamType: connect.StreamTypeUnary, Schema: method, Procedure: "/" + c.Method,
	}, req, resp)
}

func as(ctx context.Context, token, user string) context.Context {
	ctx, info := connect.NewClientContext(ctx)
	if token != "" {
		info.RequestHeader().Set("Authorization", "Bearer "+token)
	}
	if user != "" {
		info.RequestHeader().Set("X-User-Id", user)
	}
	return ctx
}

// fields are the fields that an error complains of.
func fields(err error) []string {
	var list []string
	connectErr, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return nil
	}
	for _, d := range connectErr.Details() {
		m, err := connectproto.UnmarshalErrorDetail(d)
		if err != nil {
			continue
		}
		if bad, ok := m.(*errdetails.BadRequest); ok {
			for _, v := range bad.GetFieldViolations() {
				list = append(list, v.GetField())
			}
		}
	}
	return list
}

func TestWatchOverEveryProtocol(t *testing.T) {
	b := start(t, dbtest.URL(t, testkit.Postgres(t)))
	for protocol, options := range protocols {
		t.Run(protocol, func(t *testing.T) {
			client := connect.NewClient(connecthttp.NewTransport(httpClient(t), b.url, options...))
			task, err := backendv1connect.NewTaskServiceClient(client).EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{Prompt: "hello"})
			require.NoError(t, err)
			stream, err := backendv1connect.NewSessionServiceClient(client).WatchSession(t.Context(), &backendv1.WatchSessionRequest{SessionId: task.GetSessionId()})
			require.NoError(t, err)
			var kinds []string
			for {
				m, err := stream.Receive()
				require.NoError(t, err)
				if m.GetCaughtUp() != nil {
					require.Equal(t, int64(2), m.GetCaughtUp().GetSeq())
					break
				}
				p := m.GetEvent().GetPayload().ProtoReflect()
				kinds = append(kinds, string(p.WhichOneof(p.Descriptor().Oneofs().ByName("kind")).Name()))
			}
			require.Equal(t, []string{"run_status_changed", "message_added"}, kinds)
			require.NoError(t, stream.Close())
		})
	}
}

// A server that stops ends its streams with Unavailable, and its work cleanly.
func TestShutdownEndsStreams(t *testing.T) {
	b := start(t, dbtest.URL(t, testkit.Postgres(t)))
	client := connect.NewClient(connecthttp.NewTransport(httpClient(t), b.url))
	task, err := backendv1connect.NewTaskServiceClient(client).EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{Prompt: "hello"})
	require.NoError(t, err)
	stream, err := backendv1connect.NewSessionServiceClient(client).WatchSession(t.Context(), &backendv1.WatchSessionRequest{SessionId: task.GetSessionId()})
	require.NoError(t, err)
	for {
		m, err := stream.Receive()
		require.NoError(t, err)
		if m.GetCaughtUp() != nil {
			break
		}
	}
	require.NoError(t, b.stop())
	_, err = stream.Receive()
	require.Equal(t, connect.CodeUnavailable, connect.CodeOf(err), "%v", err)
}

func TestCORS(t *testing.T) {
	b := start(t, dbtest.URL(t, testkit.Postgres(t)))
	for origin, allowed := range map[string]string{"http://page.example": "http://page.example", "http://evil.example": ""} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, b.url+"/poco.backend.v1.TaskService/EnqueueTask", nil)
		require.NoError(t, err)
		req.Header.Set("Origin", origin)
		req.Header.Set("Access-Control-Request-Method", "POST")
		req.Header.Set("Access-Control-Request-Headers", "content-type")
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, allowed, resp.Header.Get("Access-Control-Allow-Origin"))
	}
}

// Anyone who has no client library reads with plain GETs, with the same token.
func TestReadsWithGet(t *testing.T) {
	b := launch(t, dbtest.URL(t, testkit.Postgres(t)), "CLIENT_TOKEN=token-of-the-client")
	b.wait(t)
	get := func(request, origin, token string) (*http.Response, string) {
		target := b.url + "/poco.backend.v1.SessionService/ListSessions?encoding=json&message=" + url.QueryEscape(request)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Origin", origin)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp, string(body)
	}
	resp, body := get(`{"pageSize":1}`, "http://page.example", "token-of-the-client")
	require.Equal(t, http.StatusOK, resp.StatusCode, body)
	require.JSONEq(t, "{}", body)
	require.Equal(t, "no-store", resp.Header.Get("Cache-Control"))
	require.Equal(t, "http://page.example", resp.Header.Get("Access-Control-Allow-Origin"))
	resp, _ = get("{}", "http://evil.example", "token-of-the-client")
	require.Empty(t, resp.Header.Get("Access-Control-Allow-Origin"), "a browser shows such a page nothing")
	for _, token := range []string{"", "wrong"} {
		resp, _ = get("{}", "http://page.example", token)
		require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	}
	resp, body = get(`{"pageSize":-1}`, "http://page.example", "token-of-the-client")
	require.Equal(t, http.StatusBadRequest, resp.StatusCode)
	require.Contains(t, body, "page_size")
}

// Several backends may start at once on an empty database.
func TestBackendsStartTogether(t *testing.T) {
	databaseURL := dbtest.Empty(t, testkit.Postgres(t))
	for _, b := range []*backend{launch(t, databaseURL), launch(t, databaseURL)} {
		b.wait(t)
		resp, err := http.Get(b.url + "/readyz")
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusOK, resp.StatusCode)
	}
}

func TestDatabaseThatIsNotThere(t *testing.T) {
	cfg, err := app.LoadConfig(config.Sources{Environ: []string{
		"DATABASE_URL=postgres://poco:hunter2@127.0.0.1:1/poco", "DB_WAIT_TIMEOUT_SECONDS=0", "SECRET_KEY=x", "INTERNAL_API_TOKEN=x",
		"S3_ENDPOINT=http://127.0.0.1:1", "S3_BUCKET=bucket", "S3_ACCESS_KEY=a", "S3_SECRET_KEY=s",
	}})
	require.NoError(t, err)
	err = app.Run(t.Context(), cfg, app.Options{Logger: slog.New(slog.DiscardHandler)})
	require.ErrorContains(t, err, "DATABASE_URL")
	require.NotContains(t, err.Error(), "hunter2")
}

// A backend that is stopped while it waits for Postgres ends well.
func TestStoppedWhileItWaitsForPostgres(t *testing.T) {
	silent := testkit.Listener(t)
	b := launch(t, "postgres://poco@"+silent.Addr().String()+"/poco")
	conn, err := silent.Accept()
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, b.stop())
}
