package testkit

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// PgBouncer is a pooler before a database, on a port that stays the same.
type PgBouncer struct {
	t    testing.TB
	to   *url.URL
	port int
	cmd  *exec.Cmd
}

// NewPgBouncer prepares a pooler before the database at a URL. Without the
// program, the test is skipped, or fails when POCO_TEST_REQUIRE_ALL=1.
func NewPgBouncer(t testing.TB, databaseURL string) *PgBouncer {
	t.Helper()
	if _, err := exec.LookPath("pgbouncer"); err != nil {
		Missing(t, "needs pgbouncer: %v", err)
	}
	to, err := url.Parse(databaseURL)
	require.NoError(t, err)
	b := &PgBouncer{t: t, to: to, port: FreePort(t)}
	t.Cleanup(b.Stop)
	return b
}

// Start starts it in a pool mode, with as many connections to Postgres.
func (b *PgBouncer) Start(poolMode string, connections int) {
	b.t.Helper()
	dir, err := os.MkdirTemp("/tmp", "poco-pgbouncer-")
	require.NoError(b.t, err)
	b.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	password, _ := b.to.User.Password()
	settings := fmt.Sprintf(`[databases]
* = host=%s port=%s user=%s password=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = %s
default_pool_size = %d
ignore_startup_parameters = extra_float_digits
`, b.to.Hostname(), b.to.Port(), b.to.User.Username(), password, b.port, poolMode, connections)
	file := filepath.Join(dir, "pgbouncer.ini")
	require.NoError(b.t, os.WriteFile(file, []byte(settings), 0o644)) //nolint:gosec // another user reads it
	require.NoError(b.t, os.Chmod(dir, 0o755))                        //nolint:gosec // likewise
	args := []string{file}
	if os.Geteuid() == 0 { // It refuses to run as root.
		args = []string{"-u", "nobody", file}
	}
	b.cmd = exec.CommandContext(context.Background(), "pgbouncer", args...)
	b.cmd.Stderr = b.t.Output()
	require.NoError(b.t, b.cmd.Start())
	require.Eventually(b.t, func() bool {
		conn, err := new(net.Dialer).DialContext(b.t.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(b.port)))
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, 10*time.Second, 10*time.Millisecond, "pgbouncer does not listen")
}

// Stop ends it, with every connection through it.
func (b *PgBouncer) Stop() {
	if b.cmd == nil {
		return
	}
	_ = b.cmd.Process.Kill()
	_ = b.cmd.Wait()
	b.cmd = nil
}

// URL is the database's, through the pooler.
func (b *PgBouncer) URL() string {
	through := *b.to
	through.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(b.port))
	return through.String()
}
