package configservice_test

import (
	"encoding/json"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectproto"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

func TestAccess(t *testing.T) {
	development := serve(t, "backend", nil)
	production := serve(t, "backend", map[string]string{"APP_ENV": "production"})
	guarded := serve(t, "backend", map[string]string{"CLIENT_TOKEN": "marker-token-of-the-clients"})
	for name, c := range map[string]struct {
		url     string
		headers []string
		allowed bool
	}{
		"development, direct":        {development.url, nil, true},
		"development, own origin":    {development.url, []string{"Origin", "http://localhost:3000"}, true},
		"development, other origin":  {development.url, []string{"Origin", "https://evil.example"}, false},
		"development, proxied":       {development.url, []string{"X-Forwarded-For", "10.0.0.1"}, false},
		"development, through a CDN": {development.url, []string{"CF-Connecting-IP", "10.0.0.1"}, false},
		"development, via":           {development.url, []string{"Via", "1.1 proxy"}, false},
		"development, wrong token":   {development.url, []string{"Authorization", "Bearer x"}, false},
		"production, direct":         {production.url, nil, false},
		"production, token":          {production.url, []string{"Authorization", "Bearer " + token}, true},
		"production, proxied token":  {production.url, []string{"Authorization", "Bearer " + token, "X-Forwarded-For", "10.0.0.1"}, true},
		"client token, direct":       {guarded.url, nil, false},
		"client token":               {guarded.url, []string{"Authorization", "Bearer marker-token-of-the-clients"}, true},
		"client token, internal":     {guarded.url, []string{"Authorization", "Bearer " + token}, true},
	} {
		t.Run(name, func(t *testing.T) {
			client := dial(t, c.url)
			_, config := client.GetConfig(with(t.Context(), c.headers...), &configv1.GetConfigRequest{})
			_, schema := client.GetConfigSchema(with(t.Context(), c.headers...), &configv1.GetConfigSchemaRequest{})
			_, compared := client.ComparePeer(with(t.Context(), c.headers...), &configv1.ComparePeerRequest{Nonce: make([]byte, 32)})
			for _, err := range []error{config, schema, compared} {
				if c.allowed {
					require.NoError(t, err)
				} else {
					require.Equal(t, connect.CodeUnauthenticated, connect.CodeOf(err), "%v", err)
				}
			}
		})
	}
}

// Every service answers all four procedures, over every protocol.
func TestEveryServiceOverEveryProtocol(t *testing.T) {
	for name, message := range map[string]string{
		"backend": "poco.config.v1.BackendConfig", "manager": "poco.config.v1.ManagerConfig",
		"executor": "poco.config.v1.ExecutorConfig", "frontend": "poco.config.v1.FrontendConfig",
	} {
		for protocol, options := range protocols {
			t.Run(name+"/"+protocol, func(t *testing.T) {
				client := dial(t, serve(t, name, map[string]string{"EXECUTOR_MANAGER_URL": "http://127.0.0.1:1"}).url, options...)
				config, err := client.GetConfig(t.Context(), &configv1.GetConfigRequest{})
				require.NoError(t, err)
				require.Equal(t, name, config.GetService())
				require.NotEmpty(t, config.GetFields())
				schema, err := client.GetConfigSchema(t.Context(), &configv1.GetConfigSchemaRequest{})
				require.NoError(t, err)
				require.Equal(t, message, schema.GetMessageName())
				check, err := client.CheckPeers(t.Context(), &configv1.CheckPeersRequest{})
				require.NoError(t, err)
				require.Equal(t, name, check.GetService())
				compared, err := client.ComparePeer(t.Context(), &configv1.ComparePeerRequest{
					Service: "poco", Nonce: make([]byte, 32), Comparisons: []*configv1.Comparison{{Env: "NO_SUCH", Proof: make([]byte, 32)}},
				})
				require.NoError(t, err)
				require.Equal(t, configv1.ComparisonState_COMPARISON_STATE_NOT_SHARED, compared.GetAnswers()[0].GetState())
				_, err = client.ComparePeer(t.Context(), &configv1.ComparePeerRequest{Service: "poco"})
				require.Equal(t, connect.CodeInvalidArgument, connect.CodeOf(err), "no nonce: %v", err)
				require.NotContains(t, prototext.Format(check)+prototext.Format(compared), "marker")
				// What is no secret may be shown to who may see the settings.
				shown := prototext.Format(config) + prototext.Format(schema)
				for _, secret := range []string{token, s3Secret, s3Key, "marker-password", "marker-secret-key", "marker-token-of-the-executor"} {
					require.NotContains(t, shown, secret)
				}
			})
		}
	}
}

func TestSchema(t *testing.T) {
	client := dial(t, serve(t, "manager", nil).url)
	resp, err := client.GetConfigSchema(t.Context(), &configv1.GetConfigSchemaRequest{})
	require.NoError(t, err)
	var text struct {
		Properties map[string]any `json:"properties"`
	}
	require.NoError(t, json.Unmarshal([]byte(resp.GetJsonSchema()), &text))
	require.Contains(t, text.Properties, "CALLBACK_BASE_URL")

	// In an order in which it can be built, and with everything it needs.
	files, err := protodesc.NewFiles(resp.GetFileDescriptorSet())
	require.NoError(t, err)
	found, err := files.FindDescriptorByName(protoreflect.FullName(resp.GetMessageName()))
	require.NoError(t, err)
	server := found.(protoreflect.MessageDescriptor).Fields().ByName("server").Message()
	callback := server.Fields().ByName("callback_base_url")
	comment := callback.ParentFile().SourceLocations().ByDescriptor(callback).LeadingComments
	require.Contains(t, comment, "URL of this manager")
}

func TestStrangersAreLimited(t *testing.T) {
	client := dial(t, serve(t, "executor", nil).url)
	call := func(shown string) error {
		_, err := client.CheckPeers(withToken(t.Context(), shown), &configv1.CheckPeersRequest{})
		return err
	}
	var err error
	calls := 0
	for ; err == nil && calls < 100; calls++ {
		err = call("wrong")
	}
	require.Equal(t, connect.CodeResourceExhausted, connect.CodeOf(err), "after %d calls: %v", calls, err)
	require.Equal(t, 11, calls)
	require.Equal(t, backendv1.ErrorReason_ERROR_REASON_TOO_MANY_CALLS, rpcerror.Reason(err))
	delay := retryDelay(t, err)
	require.Positive(t, delay)
	require.LessOrEqual(t, delay, 20.0)
	// Who shows the token is not held up by others.
	require.NoError(t, call(required["EXECUTOR_TOKEN"]))
}

// Who has stolen the token cannot guess the other secrets as fast as they like.
func TestGuessesAreLimited(t *testing.T) {
	client := dial(t, serve(t, "executor", nil).url)
	var err error
	for calls := 0; err == nil && calls < 10_000; calls++ {
		_, err = client.ComparePeer(withToken(t.Context(), required["EXECUTOR_TOKEN"]), &configv1.ComparePeerRequest{Nonce: make([]byte, 32)})
	}
	require.Equal(t, connect.CodeResourceExhausted, connect.CodeOf(err), "%v", err)
}

func retryDelay(t *testing.T, err error) float64 {
	t.Helper()
	var failed *connect.Error
	require.ErrorAs(t, err, &failed)
	for _, detail := range failed.Details() {
		m, err := connectproto.UnmarshalErrorDetail(detail)
		require.NoError(t, err)
		if retry, ok := m.(*errdetails.RetryInfo); ok {
			return retry.GetRetryDelay().AsDuration().Seconds()
		}
	}
	t.Fatal("no RetryInfo")
	return 0
}

// BenchmarkGetConfig is the whole call, files looked at and network included.
func BenchmarkGetConfig(b *testing.B) {
	client := dial(b, serve(b, "manager", nil).url)
	for b.Loop() {
		if _, err := client.GetConfig(b.Context(), &configv1.GetConfigRequest{}); err != nil {
			b.Fatal(err)
		}
	}
}
