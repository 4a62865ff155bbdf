package egress

import (
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func of(env map[string]string) func(string) string {
	return func(name string) string { return env[name] }
}

const except = "localhost,127.0.0.1,::1,127.0.0.0/8"

func TestEnvironment(t *testing.T) {
	gateway := "http://host.docker.internal:8001/model"
	for name, c := range map[string]struct{ env, want map[string]string }{
		"a proxy without exceptions": {
			map[string]string{"HTTPS_PROXY": "http://p:1"},
			map[string]string{
				"HTTPS_PROXY": "http://p:1", "https_proxy": "http://p:1",
				"NO_PROXY": except + ",host.docker.internal", "no_proxy": except + ",host.docker.internal",
			},
		},
		"lower case, and the person's exceptions of both": {
			map[string]string{"http_proxy": "http://p:1", "NO_PROXY": "corp, .lan", "no_proxy": "corp localhost"},
			map[string]string{
				"HTTP_PROXY": "http://p:1", "http_proxy": "http://p:1",
				"NO_PROXY": "corp,.lan,localhost,127.0.0.1,::1,127.0.0.0/8,host.docker.internal",
				"no_proxy": "corp,.lan,localhost,127.0.0.1,::1,127.0.0.0/8,host.docker.internal",
			},
		},
		"one for all": {
			map[string]string{"all_proxy": "http://p:1", "no_proxy": "*"},
			map[string]string{
				"ALL_PROXY": "http://p:1", "all_proxy": "http://p:1", "HTTP_PROXY": "http://p:1", "http_proxy": "http://p:1",
				"HTTPS_PROXY": "http://p:1", "https_proxy": "http://p:1",
				"NO_PROXY": "*," + except + ",host.docker.internal", "no_proxy": "*," + except + ",host.docker.internal",
			},
		},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, environment(of(c.env), gateway)) })
	}
}

func TestAuthorities(t *testing.T) {
	env := environment(of(map[string]string{"SSL_CERT_FILE": "/ca.pem", "SSL_CERT_DIR": "/a:/b"}))
	require.Equal(t, "/ca.pem", env["NODE_EXTRA_CA_CERTS"])
	require.Equal(t, "/ca.pem", env["GIT_SSL_CAINFO"])
	require.Equal(t, "/a", env["GIT_SSL_CAPATH"])
	env = environment(of(map[string]string{"NODE_EXTRA_CA_CERTS": "/extra.pem"}))
	require.Equal(t, "/extra.pem", env["GIT_SSL_CAINFO"])
	require.Empty(t, env["SSL_CERT_FILE"], "would replace the system's")
	env = environment(of(map[string]string{"GIT_SSL_CAINFO": "/git.pem", "SSL_CERT_FILE": "/ca.pem"}))
	require.Equal(t, "/git.pem", env["GIT_SSL_CAINFO"])
}

func TestProxy(t *testing.T) {
	proxy := proxyFor(of(map[string]string{"all_proxy": "socks5://s:1", "HTTPS_PROXY": "http://p:1", "no_proxy": "direct.lan"}))
	for raw, want := range map[string]string{
		"https://api.example.com/x": "http://p:1", "http://api.example.com": "socks5://s:1",
		"http://direct.lan": "", "https://localhost:1": "", "http://127.0.0.9": "", "http://[::1]:2": "",
	} {
		u, err := url.Parse(raw)
		require.NoError(t, err)
		got, err := proxy(u)
		require.NoError(t, err)
		if want == "" {
			require.Nil(t, got, raw)
			continue
		}
		require.Equal(t, want, got.String(), raw)
	}
}

func TestContainer(t *testing.T) {
	from, dir := t.TempDir(), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(from, "ca.pem"), []byte("CA"), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(from, "certs"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(from, "certs", "a.pem"), []byte("A"), 0o600))
	require.NoError(t, os.Symlink("a.pem", filepath.Join(from, "certs", "1234.0")))
	env, copied, err := container(of(map[string]string{
		"SSL_CERT_FILE": filepath.Join(from, "ca.pem"), "SSL_CERT_DIR": filepath.Join(from, "certs"),
		"https_proxy": "http://u:p@127.0.0.1:3128", "HTTP_PROXY": "localhost:3128", "ALL_PROXY": "http://proxy.lan:1",
	}), dir, "/etc/poco-ca", "host.docker.internal", "http://host.docker.internal:8001")
	require.NoError(t, err)
	require.True(t, copied)
	require.Equal(t, "/etc/poco-ca/SSL_CERT_FILE.pem", env["GIT_SSL_CAINFO"])
	require.Equal(t, "/etc/poco-ca/SSL_CERT_DIR", env["SSL_CERT_DIR"])
	require.Equal(t, "http://u:p@host.docker.internal:3128", env["HTTPS_PROXY"])
	require.Equal(t, "http://host.docker.internal:3128", env["http_proxy"])
	require.Equal(t, "http://proxy.lan:1", env["all_proxy"])
	for name, want := range map[string]string{"SSL_CERT_FILE.pem": "CA", "SSL_CERT_DIR/a.pem": "A", "SSL_CERT_DIR/1234.0": "A"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
	_, copied, err = container(of(nil), dir, "/etc/poco-ca", "host.docker.internal")
	require.NoError(t, err)
	require.False(t, copied)
	env, copied, err = container(of(map[string]string{"GIT_SSL_CAINFO": "/nothing", "SSL_CERT_DIR": "/nowhere"}), dir, "/c", "h")
	require.NoError(t, err)
	require.False(t, copied)
	require.Empty(t, env)
}
