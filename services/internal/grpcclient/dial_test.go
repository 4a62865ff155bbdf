package grpcclient

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/logging"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type runs struct {
	backendv1.UnimplementedRunServiceServer
	backendv1.UnimplementedTaskServiceServer
	calls atomic.Int32
	seen  chan metadata.MD
	// message makes the answer large.
	message string
}

func (r *runs) GetRun(ctx context.Context, _ *backendv1.GetRunRequest) (*backendv1.GetRunResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	if r.calls.Add(1) < 3 {
		return nil, status.Error(codes.Unavailable, "not yet")
	}
	r.seen <- md
	return &backendv1.GetRunResponse{Run: &backendv1.Run{StatusMessage: r.message}}, nil
}

func (r *runs) EnqueueTask(context.Context, *backendv1.EnqueueTaskRequest) (*backendv1.EnqueueTaskResponse, error) {
	r.calls.Add(1)
	return nil, status.Error(codes.Unavailable, "not yet")
}

func serve(t *testing.T) (*runs, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	r := &runs{seen: make(chan metadata.MD, 1)}
	backendv1.RegisterRunServiceServer(server, r)
	backendv1.RegisterTaskServiceServer(server, r)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(l); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		server.Stop()
		<-done
	})
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return r, "http://localhost:" + port
}

func dial(t *testing.T, url string) *grpc.ClientConn {
	t.Helper()
	conn, err := Dial(url, config.NewSecret("tok"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return conn
}

func TestIdempotentCallsAreRepeated(t *testing.T) {
	server, url := serve(t)
	ctx := logging.WithIDs(t.Context(), logging.IDs{RequestID: "r1", TraceID: "t1"})
	_, err := backendv1.NewRunServiceClient(dial(t, url)).GetRun(ctx, &backendv1.GetRunRequest{})
	require.NoError(t, err)
	require.Equal(t, int32(3), server.calls.Load())
	md := <-server.seen
	require.Equal(t, []string{"Bearer tok"}, md.Get("authorization"))
	require.Equal(t, []string{"r1"}, md.Get("x-request-id"))
	require.Equal(t, []string{"t1"}, md.Get("x-trace-id"))
}

// A name that the machine knows is asked of nobody: where no DNS server answers,
// each question costs seconds.
func TestNoDNSServerIsAskedForWhatIsKnown(t *testing.T) {
	var asked atomic.Int32
	before := net.DefaultResolver
	t.Cleanup(func() { net.DefaultResolver = before })
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		asked.Add(1)
		return nil, errors.New("no DNS server")
	}}
	_, url := serve(t)
	_, err := backendv1.NewRunServiceClient(dial(t, url)).GetRun(t.Context(), &backendv1.GetRunRequest{})
	require.NoError(t, err)
	require.Zero(t, asked.Load())
}

// A worker with many held runs gets all their prompts in one answer.
func TestLargeAnswers(t *testing.T) {
	server, url := serve(t)
	server.message = strings.Repeat("x", 40<<20)
	resp, err := backendv1.NewRunServiceClient(dial(t, url)).GetRun(t.Context(), &backendv1.GetRunRequest{})
	require.NoError(t, err)
	require.Len(t, resp.GetRun().GetStatusMessage(), 40<<20)
}

func TestOtherCallsAreNotRepeated(t *testing.T) {
	server, url := serve(t)
	_, err := backendv1.NewTaskServiceClient(dial(t, url)).EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{})
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.Equal(t, int32(1), server.calls.Load())
}

func TestURLs(t *testing.T) {
	for url, want := range map[string]string{
		"http://backend:8000":   "dns:///backend:8000",
		"http://backend":        "dns:///backend:80",
		"https://backend/":      "dns:///backend:443",
		"http://127.0.0.1:8000": "passthrough:///127.0.0.1:8000",
		"http://[::1]:8000":     "passthrough:///[::1]:8000",
	} {
		got, _, err := parse(url)
		require.NoError(t, err, url)
		require.Equal(t, want, got)
	}
	for _, url := range []string{"", "backend:8000", "ftp://b", "http://", "http://u:s3cr3t@b", "http://b/api", "http://b?x=s3cr3t", "http://b:s3cr3t"} {
		_, _, err := parse(url)
		require.Error(t, err, url)
		require.NotContains(t, err.Error(), "s3cr3t")
	}
}

func TestNoToken(t *testing.T) {
	conn, err := Dial("http://localhost:1", config.Secret{})
	require.NoError(t, err)
	require.NoError(t, conn.Close())
}
