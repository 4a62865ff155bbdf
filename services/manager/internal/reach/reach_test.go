package reach_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/manager/internal/reach"
	"github.com/poco-ai/poco/services/manager/internal/runtime"
	"github.com/poco-ai/poco/services/manager/internal/runtime/runtimetest"
)

// check is of a manager behind url; its answer is asked for from a machine on
// which it is reached like from here.
func check(t *testing.T, url string) *reach.Check {
	t.Helper()
	rt := runtimetest.NewMachine(nil).Runtime("w", 0)
	t.Cleanup(func() { require.NoError(t, rt.Close()) })
	return &reach.Check{Runtime: rt, URL: url, Instance: "this-one", Listening: func() []net.Addr {
		return []net.Addr{&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8001}}
	}}
}

func serve(t *testing.T, answer *string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, *answer)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestReachedIsRemembered(t *testing.T) {
	answer := `{"status":"ok","service":"manager","instance":"another-one"}`
	c := check(t, serve(t, &answer))
	err := c.Reached(t.Context())
	require.ErrorIs(t, err, runtime.ErrUnreachable)
	require.ErrorContains(t, err, "another manager of Poco")

	answer = "<html>a printer</html>"
	err = c.Reached(t.Context())
	require.ErrorIs(t, err, runtime.ErrUnreachable)
	require.ErrorContains(t, err, "not Poco")
	require.ErrorContains(t, err, "127.0.0.1:8001")

	answer = `{"status":"ok","service":"manager","instance":"this-one"}`
	require.NoError(t, c.Reached(t.Context()), "a failure is asked about again")
	answer = "anything"
	require.NoError(t, c.Reached(t.Context()), "success is not")
}

func TestNobodyAnswers(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	url := "http://" + listener.Addr().String()
	require.NoError(t, listener.Close())
	err = check(t, url).Reached(t.Context())
	require.ErrorIs(t, err, runtime.ErrUnreachable)
	for _, part := range []string{url, "connection refused", "CALLBACK_BASE_URL", "EXECUTOR_MANAGER_HOST", "127.0.0.1:8001"} {
		require.ErrorContains(t, err, part)
	}
}
