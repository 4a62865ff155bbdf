package stack

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTakenPortIsTold(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer int
		who    string
	}{
		{"by another program", http.StatusNotFound, "another program"},
		{"by another Poco", http.StatusOK, "another Poco"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				assert.Equal(t, "/grpc.health.v1.Health/Check", r.URL.Path)
				w.WriteHeader(test.answer)
			}))
			defer server.Close()
			port := server.Listener.Addr().(*net.TCPAddr).Port
			_, err := listen(t.Context(), "frontend", loopback, port, "FRONTEND_PORT")
			require.ErrorContains(t, err, fmt.Sprintf("port %d, which the frontend needs, is taken by %s", port, test.who))
			require.ErrorContains(t, err, "set FRONTEND_PORT")
		})
	}
}

func TestFreePortIsGiven(t *testing.T) {
	listener, err := listen(t.Context(), "backend", loopback, 0, "PORT")
	require.NoError(t, err)
	require.NotZero(t, listener.Addr().(*net.TCPAddr).Port)
	require.NoError(t, listener.Close())
}

func TestStalePostgresIsStopped(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, awaitStalePostgres(t.Context(), dir, func(string) {}), "no pid file")

	// Any program with the folder in its command line that obeys SIGINT.
	stale := exec.CommandContext(t.Context(), "sh", "-c", `trap 'exit 0' INT; echo ready; while :; do read -r _ || exit 1; done`, dir)
	in, err := stale.StdinPipe()
	require.NoError(t, err)
	out, err := stale.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, stale.Start())
	_, err = out.Read(make([]byte, 6))
	require.NoError(t, err)
	reaped := make(chan error, 1)
	go func() { reaped <- stale.Wait() }()

	pidFile := filepath.Join(dir, "postmaster.pid")
	require.NoError(t, os.WriteFile(pidFile, fmt.Appendf(nil, "%d\n%s\n", stale.Process.Pid, dir), 0o600))
	var told string
	require.NoError(t, awaitStalePostgres(t.Context(), dir, func(line string) { told = line }))
	require.Contains(t, told, "earlier start")
	<-reaped
	_ = in.Close() // Wait has done it

	// The number is another program's by now: this one's.
	require.NoError(t, os.WriteFile(pidFile, fmt.Appendf(nil, "%d\n", os.Getpid()), 0o600))
	_, running := postmaster(dir)
	require.False(t, running)
}
