package e2e

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/gen/go/poco/backend/v1/backendv1connect"
	"github.com/poco-ai/poco/services/internal/testkit"
)

// TestStreamsThroughProxies watches one run through proxies as they are after
// their installation, and goes on with the run only when everybody has seen how
// far it is: what a proxy collects would never be complete.
func TestStreamsThroughProxies(t *testing.T) {
	s := newStack(t, stackOptions{}).start()
	frontend := newProgram(t, "frontend", map[string]string{"FRONTEND_HOST": "127.0.0.1", "BACKEND_URL": s.backend.url()})
	frontend.env["FRONTEND_PORT"] = strconv.Itoa(frontend.port)
	frontend.start()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	http1, http2 := &http.Client{Transport: transport}, testkit.HTTP2(t)

	pass := "location / { proxy_pass " + s.backend.url() + "; }"
	nginx := testkit.Nginx(t, "", pass)
	zipping := testkit.Nginx(t, "", "gzip on; gzip_types *; gzip_proxied any; gzip_min_length 0; "+pass)
	page := testkit.Nginx(t, "", "location / { proxy_pass "+frontend.url()+"; }")
	grpc := testkit.Nginx(t, "http2", "location / { grpc_pass "+strings.Replace(s.backend.url(), "http", "grpc", 1)+"; }")
	caddy := testkit.Caddy(t, "\treverse_proxy "+s.backend.url())
	caddyZipping := testkit.Caddy(t, "\tencode gzip\n\treverse_proxy "+s.backend.url())
	caddyH2C := testkit.Caddy(t, "\treverse_proxy "+strings.Replace(s.backend.url(), "http", "h2c", 1))
	routes := map[string]struct {
		client   *http.Client
		url      string
		protocol connecthttp.Option
	}{
		"Connect, nginx":              {http1, nginx, connecthttp.WithProtoJSON()},
		"gRPC-Web, nginx":             {http1, nginx, connecthttp.WithGRPCWeb()},
		"Connect, nginx with gzip":    {http1, zipping, connecthttp.WithProtoJSON()},
		"Connect, nginx and frontend": {http1, page + "/api/v1", connecthttp.WithProtoJSON()},
		"gRPC, nginx":                 {http2, grpc, connecthttp.WithGRPC()},
		"Connect, Caddy":              {http1, caddy, connecthttp.WithProtoJSON()},
		"gRPC-Web, Caddy":             {http1, caddy, connecthttp.WithGRPCWeb()},
		"Connect, Caddy with gzip":    {http1, caddyZipping, connecthttp.WithProtoJSON()},
		"gRPC, Caddy":                 {http2, caddyH2C, connecthttp.WithGRPC()},
	}
	session, _ := s.enqueue(waitForFile, "")
	ctx, cancel := context.WithTimeout(t.Context(), awaitTimeout)
	defer cancel()
	watching := map[string]backendv1connect.SessionServiceWatchSessionClientStream{}
	for name, route := range routes {
		client := backendv1connect.NewSessionServiceClient(connect.NewClient(connecthttp.NewTransport(route.client, route.url, route.protocol)))
		stream, err := client.WatchSession(ctx, &backendv1.WatchSessionRequest{SessionId: session})
		require.NoError(t, err, name)
		watching[name] = stream
	}
	until := func(what string, match func(*backendv1.EventPayload) bool) {
		for name, stream := range watching {
			for {
				message, err := stream.Receive()
				require.NoError(t, err, "%s: waiting for %s", name, what)
				if match(message.GetEvent().GetPayload()) {
					break
				}
			}
		}
	}
	until("the tool's use", func(p *backendv1.EventPayload) bool {
		for _, block := range p.GetMessageAdded().GetBlocks() {
			if block.GetToolUse() != nil {
				return true
			}
		}
		return false
	})
	s.letGo(session)
	until("the end", func(p *backendv1.EventPayload) bool {
		return p.GetRunStatusChanged().GetStatus() == backendv1.RunStatus_RUN_STATUS_COMPLETED
	})
	cancel()
	for _, stream := range watching {
		_ = stream.Close() // its context has ended
	}
}
