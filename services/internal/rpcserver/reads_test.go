package rpcserver_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	_ "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	_ "github.com/poco-ai/poco/gen/go/poco/manager/v1"
	_ "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/internal/rpcserver"
)

// reading are the names of procedures that only read.
var reading = regexp.MustCompile(`^(Get|List|Explain|Check)[A-Z]`)

// A procedure whose name says that it only reads can be called with GET, and no
// other can: anyone who follows a link changes nothing.
func TestReadsHaveNoSideEffects(t *testing.T) {
	seen := 0
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(f.Package()), "poco.") {
			return true
		}
		for i := range f.Services().Len() {
			methods := f.Services().Get(i).Methods()
			for j := range methods.Len() {
				m := methods.Get(j)
				level := m.Options().(*descriptorpb.MethodOptions).GetIdempotencyLevel()
				unary := !m.IsStreamingClient() && !m.IsStreamingServer()
				seen++
				require.Equal(t, unary && reading.MatchString(string(m.Name())), level == descriptorpb.MethodOptions_NO_SIDE_EFFECTS,
					"%s has %s", m.FullName(), level)
			}
		}
		return true
	})
	require.NotZero(t, seen)
}

const readConfig = "/poco.config.v1.ConfigService/GetConfig"

// getCall calls over Connect's GET.
func getCall(t *testing.T, server *rpcserver.Server, procedure, message string, headers ...string) *http.Response {
	t.Helper()
	query := url.Values{"connect": {"v1"}, "encoding": {"json"}, "message": {message}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+server.Addr().String()+procedure+"?"+query.Encode(), nil)
	require.NoError(t, err)
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	return res
}

// A GET is judged like a POST, and nobody on the way keeps its answer.
func TestGetCalls(t *testing.T) {
	server, _ := start(t, nil)
	res := getCall(t, server, readConfig, "{}")
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.Equal(t, "no-store", res.Header.Get("Cache-Control"))
	require.Equal(t, "nosniff", res.Header.Get("X-Content-Type-Options"))
	refused := getCall(t, server, readConfig, "{}", "Authorization", "Bearer wrong")
	require.Equal(t, http.StatusUnauthorized, refused.StatusCode)
	require.Equal(t, "no-store", refused.Header.Get("Cache-Control"))
	for name, headers := range map[string][]string{
		"a page of another site":           {"Origin", "https://evil.example"},
		"an image in such a page":          {"Sec-Fetch-Site", "cross-site"},
		"a call that was passed on":        {"X-Forwarded-For", "192.0.2.1"},
		"with a token that is another one": {"Authorization", "Bearer internal2"},
	} {
		require.Equal(t, http.StatusUnauthorized, getCall(t, server, readConfig, "{}", headers...).StatusCode, name)
	}
	require.Equal(t, http.StatusMisdirectedRequest, getCall(t, server, readConfig, "{}", "Host", "evil.example").StatusCode)
	require.Equal(t, http.StatusBadRequest, getCall(t, server, readConfig, `{"unknown":1}`).StatusCode)
	require.Equal(t, http.StatusMethodNotAllowed, getCall(t, server, enqueue, `{"prompt":"hi"}`).StatusCode)
}
