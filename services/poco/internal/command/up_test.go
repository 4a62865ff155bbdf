package command_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/poco/internal/command"
)

// dataDir names a data folder. It is not in t.TempDir: as root, Postgres has to
// pass the folder as another user.
func dataDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(os.TempDir(), "poco-test-"+rand.Text())
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// TestEveryTakenPortIsToldAtOnce looks at a start on a machine where others
// listen already: it ends before it fetches anything, and names each port.
func TestEveryTakenPortIsToldAtOnce(t *testing.T) {
	settings := []string{"PORT", "FRONTEND_PORT", "EXECUTOR_MANAGER_PORT", "POCO_S3_PORT", "POCO_POSTGRES_PORT"}
	environ := []string{"POCO_DATA_DIR=" + dataDir(t), "EXECUTOR_RUNTIME=process"}
	for _, setting := range settings {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, listener.Close()) })
		environ = append(environ, fmt.Sprintf("%s=%d", setting, listener.Addr().(*net.TCPAddr).Port))
	}
	var out bytes.Buffer
	code := command.Main(config.Sources{Environ: environ}, []string{"up"}, strings.NewReader(""), &out, &out)
	require.Equal(t, 1, code)
	for _, setting := range settings {
		require.Contains(t, out.String(), "set "+setting+" to another port")
	}
}
