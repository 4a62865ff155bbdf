package configservice_test

import (
	"context"
	"maps"
	"net"
	"net/http"
	"slices"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/poco-ai/poco/gen/go/poco/config/v1/configv1connect"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/config/schema"
	"github.com/poco-ai/poco/services/internal/rpcserver"
	"github.com/poco-ai/poco/services/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Values that no answer may contain.
const (
	token    = "marker-token-of-all-the-services"
	otherOne = "marker-another-token-altogether"
	s3Secret = "marker-secret-of-the-object-store"
	s3Key    = "marker-key"
	bucket   = "marker-bucket"
)

// required are settings with which each service starts.
var required = map[string]string{
	"DATABASE_URL": "postgres://poco:marker-password-of-postgres@localhost/poco", "SECRET_KEY": "marker-secret-key-of-the-backend",
	"INTERNAL_API_TOKEN": token, "S3_ENDPOINT": "http://marker-s3:9000", "S3_BUCKET": bucket,
	"S3_ACCESS_KEY": s3Key, "S3_SECRET_KEY": s3Secret,
	"BACKEND_URL": "http://127.0.0.1:1", "CALLBACK_BASE_URL": "http://127.0.0.1:1", "WORKSPACE_ROOT": "/tmp",
	"EXECUTOR_TOKEN": "marker-token-of-the-executor", "DEFAULT_MODEL": "none",
}

// running is a service that has nothing but its port and its settings.
type running struct{ url string }

// serve runs a service of that name; env is put over what is required.
func serve(t testing.TB, name string, env map[string]string) running {
	t.Helper()
	return serveOn(t, testkit.Listener(t), name, env)
}

func serveOn(t testing.TB, listener net.Listener, name string, env map[string]string) running {
	t.Helper()
	all := maps.Clone(required)
	maps.Copy(all, env)
	var environ []string
	for _, key := range slices.Sorted(maps.Keys(all)) {
		environ = append(environ, key+"="+all[key])
	}
	service, ok := schema.Named(name)
	require.True(t, ok)
	loaded, err := config.Load(service.Message, name, config.Sources{Environ: environ})
	require.NoError(t, err)
	secret := "INTERNAL_API_TOKEN"
	if name == "executor" {
		secret = "EXECUTOR_TOKEN"
	}
	options := rpcserver.Options{
		Service: name, Listeners: []net.Listener{listener}, Config: loaded, InternalToken: loaded.Secret(secret),
	}
	if name != "executor" {
		options.ClientToken = loaded.Secret("CLIENT_TOKEN")
	}
	server, err := rpcserver.New(options)
	require.NoError(t, err)
	require.NoError(t, server.Start())
	t.Cleanup(func() { require.NoError(t, server.Shutdown(context.Background())) })
	return running{url: "http://" + server.Addr().String()}
}

// protocols are all the ways to call a service.
var protocols = map[string][]connecthttp.Option{
	"connect json": {connecthttp.WithProtoJSON()},
	"connect":      nil,
	"grpc":         {connecthttp.WithGRPC()},
	"grpc-web":     {connecthttp.WithGRPCWeb()},
}

func dial(t testing.TB, url string, options ...connecthttp.Option) configv1connect.ConfigServiceClient {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	t.Cleanup(transport.CloseIdleConnections)
	return configv1connect.NewConfigServiceClient(connect.NewClient(connecthttp.NewTransport(&http.Client{Transport: transport}, url, options...)))
}

// with returns a context of calls with these headers: name, value, name, value.
func with(ctx context.Context, headers ...string) context.Context {
	ctx, info := connect.NewClientContext(ctx)
	for i := 0; i+1 < len(headers); i += 2 {
		info.RequestHeader().Set(headers[i], headers[i+1])
	}
	return ctx
}

func withToken(ctx context.Context, token string) context.Context {
	return with(ctx, "Authorization", "Bearer "+token)
}
