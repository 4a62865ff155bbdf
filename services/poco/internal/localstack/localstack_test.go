package localstack_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/testkit"
	"github.com/poco-ai/poco/services/poco/internal/localstack"
)

func ensure(t *testing.T, dir string) (token, told string) {
	t.Helper()
	token, told, err := localstack.EnsureToken(dir)
	require.NoError(t, err)
	info, err := os.Stat(localstack.TokenPath(dir))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	read, err := localstack.ReadToken(dir)
	require.NoError(t, err)
	require.Equal(t, token, read)
	require.GreaterOrEqual(t, len(token), 40)
	return token, told
}

func TestTheTokenIsKept(t *testing.T) {
	dir := t.TempDir()
	first, told := ensure(t, dir)
	require.Empty(t, told)
	again, told := ensure(t, dir)
	require.Empty(t, told)
	require.Equal(t, first, again)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing half-written is left")
}

func TestATokenThatOthersCouldReadIsReplaced(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"world":  func(path string) error { return os.Chmod(path, 0o644) },
		"group":  func(path string) error { return os.Chmod(path, 0o640) },
		"nobody": func(path string) error { return os.Truncate(path, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			first, _ := ensure(t, dir)
			require.NoError(t, spoil(localstack.TokenPath(dir)))
			second, told := ensure(t, dir)
			require.NotEqual(t, first, second)
			require.Contains(t, told, localstack.TokenPath(dir))
			require.NotContains(t, told, first)
		})
	}
}

func TestATokenIsAPlainFile(t *testing.T) {
	dir := t.TempDir()
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	require.NoError(t, os.WriteFile(elsewhere, []byte(strings.Repeat("x", 52)), 0o600))
	require.NoError(t, os.Symlink(elsewhere, localstack.TokenPath(dir)))
	_, _, err := localstack.EnsureToken(dir)
	require.ErrorContains(t, err, "is no plain file")
}

func TestAMissingTokenSaysWhereItShouldBe(t *testing.T) {
	dir := t.TempDir()
	_, err := localstack.ReadToken(dir)
	require.ErrorContains(t, err, localstack.TokenPath(dir))
	require.ErrorContains(t, err, "--data-dir or POCO_DATA_DIR")
}

func TestAFolderThatOthersCanWriteToIsRefused(t *testing.T) {
	dir := t.TempDir()
	for mode, ok := range map[os.FileMode]bool{0o700: true, 0o711: true, 0o755: true, 0o775: false, 0o777: false, 0o777 | os.ModeSticky: false, 0o702: false} {
		require.NoError(t, os.Chmod(dir, mode))
		err := localstack.CheckFolder(dir)
		if ok {
			require.NoError(t, err, mode)
		} else {
			require.ErrorContains(t, err, "chmod go-w "+dir, mode)
		}
	}
}

// running is a folder on which a stack seems to run, with a listener in place of
// its backend.
func running(t *testing.T) (dir, token string, backend net.Listener) {
	t.Helper()
	dir = t.TempDir()
	token, _ = ensure(t, dir)
	backend = testkit.Listener(t)
	require.NoError(t, localstack.Occupant{
		PID: 1, Backend: backend.Addr().String(), Manager: "127.0.0.1:81", Frontend: "0.0.0.0:82",
	}.Write(dir))
	lock := localstack.Lock(dir)
	locked, err := lock.TryLock()
	require.NoError(t, err)
	require.True(t, locked)
	t.Cleanup(func() { _ = lock.Unlock() })
	return dir, token, backend
}

func TestTheTokenIsForTheStacksOwnAddresses(t *testing.T) {
	dir, token, backend := running(t)
	local, err := localstack.Find(dir)
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(backend.Addr().String())
	require.NoError(t, err)
	for url, own := range map[string]bool{
		"http://localhost:" + port:                   true,
		"http://LOCALHOST.:" + port + "/api":         true,
		"http://127.0.0.1:" + port:                   true,
		"http://[::1]:" + port:                       true,
		"http://localhost:81":                        true,
		"http://127.0.0.1:82/api/v1":                 true,
		"http://localhost":                           false,
		"http://localhost:1":                         false,
		"http://example.com:" + port:                 false,
		"http://localhost.example.com:" + port:       false,
		"http://127.0.0.1.example.com:" + port:       false,
		"http://localhost:" + port + "@evil:" + port: false,
		"http://10.0.0.1:" + port:                    false,
		"https://localhost:" + port:                  false,
		"ftp://localhost:" + port:                    false,
		"":                                           false,
		"%":                                          false,
	} {
		if own {
			require.Equal(t, token, local.Token(url).Reveal(), url)
		} else {
			require.False(t, local.Token(url).IsSet(), url)
		}
	}
	require.Equal(t, "http://127.0.0.1:82/#token="+token, local.SignInURL())
	require.Equal(t, "http://[::1]:82/#token=a%2Bb+%25%26", localstack.SignInURL("[::1]:82", "a+b %&"))
}

// TestLocalhostIsWhereTheStackListens: another user may listen on the same port of
// another loopback address, which localhost means as well.
func TestLocalhostIsWhereTheStackListens(t *testing.T) {
	dir, _, backend := running(t)
	local, err := localstack.Find(dir)
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(backend.Addr().String())
	require.NoError(t, err)
	for _, host := range []string{"localhost", "::1", "127.0.0.2"} {
		conn, err := local.Dial(t.Context(), &net.Dialer{}, "tcp", net.JoinHostPort(host, port))
		require.NoError(t, err, host)
		require.Equal(t, backend.Addr().String(), conn.RemoteAddr().String(), host)
		require.NoError(t, conn.Close())
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = local.Dial(ended, &net.Dialer{}, "tcp", "192.0.2.1:"+port)
	require.ErrorContains(t, err, "192.0.2.1", "other hosts stay what they are")
}

// TestAKilledStackGetsNoToken: anyone who listens on its ports by now is somebody else.
func TestAKilledStackGetsNoToken(t *testing.T) {
	dir := t.TempDir()
	ensure(t, dir)
	require.NoError(t, localstack.Occupant{PID: os.Getpid(), Backend: "127.0.0.1:8000"}.Write(dir))
	local, err := localstack.Find(dir)
	require.ErrorContains(t, err, "nothing runs on the data folder "+dir)
	require.False(t, local.Token("http://127.0.0.1:8000").IsSet())

	lock := localstack.Lock(dir) // the look has left it free
	locked, err := lock.TryLock()
	require.NoError(t, err)
	require.True(t, locked)
	require.NoError(t, lock.Unlock())
}
