// Package testkit gives tests the real servers they need. A server is started
// once for each test process, at its first use, and ends with the process.
package testkit

import (
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// requireAllVariable makes a test fail where it would be skipped because
// something is not installed.
const requireAllVariable = "POCO_TEST_REQUIRE_ALL"

// Missing skips a test because something is not there, or fails it when
// POCO_TEST_REQUIRE_ALL=1.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv(requireAllVariable) == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// FreePort returns a port of 127.0.0.1 that was free a moment ago. Prefer
// handing over a listener.
func FreePort(t testing.TB) int {
	t.Helper()
	l := Listener(t)
	port := l.Addr().(*net.TCPAddr).Port
	require.NoError(t, l.Close())
	return port
}

// Listener returns a listener on a free port of 127.0.0.1, closed with the test.
func Listener(t testing.TB) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() }) // anyone who was given it has closed it
	return l
}
