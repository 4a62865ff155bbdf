package auth_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectinprocess"
	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/gen/go/poco/backend/v1/backendv1connect"
	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

type runs struct {
	backendv1connect.UnimplementedRunServiceHandler
	backendv1connect.UnimplementedTaskServiceHandler
}

func (runs) GetRun(ctx context.Context, _ *backendv1.GetRunRequest) (*backendv1.GetRunResponse, error) {
	return &backendv1.GetRunResponse{Run: &backendv1.Run{Id: auth.User(ctx)}}, nil
}

func (runs) EnqueueTask(context.Context, *backendv1.EnqueueTaskRequest) (*backendv1.EnqueueTaskResponse, error) {
	return &backendv1.EnqueueTaskResponse{}, nil
}

func client(interceptors ...connect.ServerInterceptor) *connect.Client {
	server := connect.NewServer(interceptors...)
	backendv1connect.RegisterRunServiceHandler(server, runs{})
	backendv1connect.RegisterTaskServiceHandler(server, runs{})
	return connect.NewClient(connectinprocess.New(server))
}

func with(t *testing.T, headers ...string) context.Context {
	t.Helper()
	ctx, info := connect.NewClientContext(t.Context())
	for i := 0; i+1 < len(headers); i += 2 {
		info.RequestHeader().Set(headers[i], headers[i+1])
	}
	return ctx
}

func TestBearerInterceptor(t *testing.T) {
	token := config.NewSecret("tok")
	c := client(auth.BearerInterceptor(auth.ServiceMatcher("poco.backend.v1.RunService/"), auth.StaticToken(token)))
	calls := backendv1connect.NewRunServiceClient(c)
	tests := map[string]struct {
		headers []string
		ok      bool
	}{
		"none":         {nil, false},
		"right":        {[]string{"Authorization", "Bearer tok"}, true},
		"lower case":   {[]string{"Authorization", "bearer  tok "}, true},
		"wrong":        {[]string{"Authorization", "Bearer tok2"}, false},
		"prefix":       {[]string{"Authorization", "Bearer to"}, false},
		"other scheme": {[]string{"Authorization", "Basic tok"}, false},
		"bare":         {[]string{"Authorization", "tok"}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := calls.GetRun(with(t, test.headers...), &backendv1.GetRunRequest{})
			if test.ok {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
		})
	}
	_, err := backendv1connect.NewTaskServiceClient(c).EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{})
	require.NoError(t, err, "another service needs no token")
}

func TestClientInterceptor(t *testing.T) {
	open := auth.ServiceMatcher("poco.backend.v1.TaskService/")
	c := client(auth.ClientInterceptor(config.NewSecret("client"), config.NewSecret("internal"), open))
	calls := backendv1connect.NewRunServiceClient(c)
	for authorization, ok := range map[string]bool{
		"": false, "Bearer client": true, "Bearer internal": true, "Bearer other": false, "Basic client": false, "Bearer": false,
	} {
		_, err := calls.GetRun(with(t, "Authorization", authorization), &backendv1.GetRunRequest{})
		if ok {
			require.NoError(t, err, authorization)
		} else {
			require.Equal(t, connect.CodeUnauthenticated, rpcerror.CodeOf(err), authorization)
		}
	}
	_, err := backendv1connect.NewTaskServiceClient(c).EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{})
	require.NoError(t, err, "what has a rule of its own")

	unguarded := client(auth.ClientInterceptor(config.Secret{}, config.NewSecret("internal"), open))
	_, err = backendv1connect.NewRunServiceClient(unguarded).GetRun(t.Context(), &backendv1.GetRunRequest{})
	require.NoError(t, err, "a service without a token for clients")
}

// A token for clients is rotated, added and taken away while a service runs.
func TestTheClientTokenIsLive(t *testing.T) {
	env := filepath.Join(t.TempDir(), ".env")
	write := func(lines ...string) {
		require.NoError(t, os.WriteFile(env, []byte(strings.Join(append(lines, "BACKEND_URL=http://backend:8000"), "\n")), 0o600))
	}
	write()
	loaded, err := config.Load(&configv1.FrontendConfig{}, "frontend", config.Sources{DotEnvPath: env})
	require.NoError(t, err)
	calls := backendv1connect.NewRunServiceClient(client(auth.ClientInterceptor(
		loaded.Secret("CLIENT_TOKEN"), config.NewSecret("internal"), auth.ServiceMatcher("no.such."))))
	passes := func(authorization string) bool {
		t.Helper()
		_, err := calls.GetRun(with(t, "Authorization", authorization), &backendv1.GetRunRequest{})
		if err != nil {
			require.Equal(t, connect.CodeUnauthenticated, rpcerror.CodeOf(err))
		}
		return err == nil
	}
	require.True(t, passes(""))

	const first, second = "the-first-token-of-the-clients-here", "the-second-token-of-the-clients-here"
	write("CLIENT_TOKEN=" + first)
	loaded.Refresh()
	require.False(t, passes(""))
	require.True(t, passes("Bearer "+first))

	write("CLIENT_TOKEN=" + second)
	loaded.Refresh()
	require.True(t, passes("Bearer "+second))
	require.True(t, passes("Bearer "+first), "for ROTATION_GRACE_SECONDS")
	require.False(t, passes("Bearer another"))

	write()
	loaded.Refresh()
	require.False(t, passes(""), "what is taken away opens nothing")
	require.True(t, passes("Bearer internal"))
}

func TestUnsetTokenAcceptsNothing(t *testing.T) {
	for _, candidate := range []string{"", "x"} {
		_, err := auth.StaticToken(config.Secret{})(t.Context(), candidate)
		require.Equal(t, connect.CodeUnauthenticated, rpcerror.CodeOf(err))
	}
}

func TestUserOf(t *testing.T) {
	const authorization = "Bearer tok"
	long := strings.Repeat("ä", 200)
	tests := map[string]struct {
		user, authorization string
		want                string
		code                connect.Code
	}{
		"nobody":              {"", "", "default", 0},
		"nobody, with token":  {"", authorization, "default", 0},
		"blank":               {"  ", "", "default", 0},
		"with token":          {" anna ", authorization, "anna", 0},
		"longest":             {long, authorization, long, 0},
		"without token":       {"anna", "", "", connect.CodeUnauthenticated},
		"wrong token":         {"anna", "Bearer x", "", connect.CodeUnauthenticated},
		"too long":            {long + "x", authorization, "", connect.CodeInvalidArgument},
		"control character":   {"a\x01b", authorization, "", connect.CodeInvalidArgument},
		"invalid":             {"a\xff", authorization, "", connect.CodeInvalidArgument},
		"default, unverified": {"default", "", "", connect.CodeUnauthenticated},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			user, err := auth.UserOf(test.user, test.authorization, config.NewSecret("tok"))
			require.Equal(t, test.want, user)
			if test.code != 0 {
				require.Equal(t, test.code, rpcerror.CodeOf(err))
				return
			}
			require.NoError(t, err)
		})
	}
}

func TestUserInterceptor(t *testing.T) {
	calls := backendv1connect.NewRunServiceClient(client(auth.UserInterceptor(config.NewSecret("tok"))))
	res, err := calls.GetRun(with(t, "X-User-Id", "anna", "Authorization", "Bearer tok"), &backendv1.GetRunRequest{})
	require.NoError(t, err)
	require.Equal(t, "anna", res.GetRun().GetId())
	require.Equal(t, "default", auth.User(t.Context()))
}
