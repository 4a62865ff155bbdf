package testkit

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// proxyTimeout bounds the start of a proxy, and its end.
const proxyTimeout = 30 * time.Second

// Nginx runs an nginx on a free port and returns its URL. server is the inside
// of its server block, listen apart; everything else is nginx's default. listen
// is what the listen directive says after the address, for example "http2".
func Nginx(t testing.TB, listen, server string) string {
	t.Helper()
	path, err := exec.LookPath("nginx")
	if err != nil {
		Missing(t, "needs nginx: apt-get install nginx")
	}
	dir, port := t.TempDir(), FreePort(t)
	config := filepath.Join(dir, "nginx.conf")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `
daemon off;
pid %[1]s/pid;
error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path %[1]s/body;
  proxy_temp_path %[1]s/proxy;
  fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi;
  scgi_temp_path %[1]s/scgi;
  server {
    listen 127.0.0.1:%[2]d %[3]s;
    %[4]s
  }
}`, dir, port, listen, server), 0o600))
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), path, "-c", config, "-p", dir, "-e", "stderr")
	if os.Geteuid() == 0 {
		// Its workers would be nobody, who cannot pass the test's folder.
		cmd.Args = append(cmd.Args, "-g", "user root;")
	}
	return runProxy(t, cmd, port)
}

// Caddy runs a Caddy on a free port and returns its URL. site is the inside of
// its site block; everything else is Caddy's default, but that it also takes
// HTTP/2 without TLS.
func Caddy(t testing.TB, site string) string {
	t.Helper()
	path, err := exec.LookPath("caddy")
	if err != nil {
		Missing(t, "needs Caddy: apt-get install caddy")
	}
	dir, port := t.TempDir(), FreePort(t)
	config := filepath.Join(dir, "Caddyfile")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, "{\n\tadmin off\n\tservers {\n\t\tprotocols h1 h2c\n\t}\n}\nhttp://127.0.0.1:%d {\n%s\n}\n", port, site), 0o600))
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), path, "run", "--config", config, "--adapter", "caddyfile")
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	return runProxy(t, cmd, port)
}

func runProxy(t testing.TB, cmd *exec.Cmd, port int) string {
	t.Helper()
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	require.NoError(t, cmd.Start())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // ended by a signal
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // may have ended
		select {
		case <-ended:
		case <-time.After(proxyTimeout):
			t.Errorf("%s does not end", cmd.Path)
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	ctx, cancel := context.WithTimeout(t.Context(), proxyTimeout)
	defer cancel()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			require.NoError(t, conn.Close())
			return "http://" + address
		}
		select {
		case <-ended:
			t.Fatalf("%s ended: %v", cmd.Path, cmd.ProcessState)
		case <-ctx.Done():
			t.Fatalf("%s does not listen: %v", cmd.Path, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// HTTP2 returns a client that speaks cleartext HTTP/2 only.
func HTTP2(t testing.TB) *http.Client {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}
