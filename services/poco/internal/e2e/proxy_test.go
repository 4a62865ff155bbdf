package e2e

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

// refusingProxy is a proxy that lets nothing through and remembers who asked.
func refusingProxy(t *testing.T) (url string, asked func() []string) {
	t.Helper()
	var mu sync.Mutex
	var seen []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen = append(seen, r.Method+" "+r.RequestURI)
		mu.Unlock()
		w.WriteHeader(http.StatusBadGateway)
	}))
	t.Cleanup(server.Close)
	return server.URL, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), seen...)
	}
}

// TestTheProxyDoesNotSeeTheGateway: a proxy of the machine's, set without
// exceptions, gets no model call, with which the run's token would go to it.
func TestTheProxyDoesNotSeeTheGateway(t *testing.T) {
	for _, names := range [][]string{{"HTTP_PROXY", "HTTPS_PROXY"}, {"http_proxy", "https_proxy"}, {"ALL_PROXY"}} {
		t.Run(names[0], func(t *testing.T) {
			proxy, asked := refusingProxy(t)
			s := newStack(t, stackOptions{})
			for _, name := range names {
				s.manager.env[name] = proxy
			}
			s.manager.env["no_proxy"] = "corp.example"
			s.start()
			session, run := s.enqueue(`[[bash:env | grep -i no_proxy >seen.txt]]`, "")
			end := s.follow(session).awaitEnd(run)
			require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, end.GetStatus(), end.GetMessage())
			seen, err := os.ReadFile(filepath.Join(s.workspace(s.manager, session), "seen.txt"))
			require.NoError(t, err)
			for _, name := range []string{"no_proxy", "NO_PROXY"} {
				require.Contains(t, string(seen), name+"=corp.example,localhost,127.0.0.1,")
			}
			require.Empty(t, asked())
		})
	}
}
