package configservice

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestOneCaller(t *testing.T) {
	l, now := newLimit(), time.Now()
	for range callerBurst {
		require.NoError(t, l.stranger("10.0.0.1:1", now))
	}
	for range 2 * strangersBurst {
		require.Error(t, l.stranger("10.0.0.1:2", now), "the port does not make it another caller")
	}
	require.NoError(t, l.stranger("10.0.0.2:1", now), "what one is refused holds nobody else up")
	now = now.Add(callerEvery)
	require.NoError(t, l.stranger("10.0.0.1:1", now))
	require.Error(t, l.stranger("10.0.0.1:1", now))
	require.NoError(t, l.trusted(now))
}

// Who shows the token is limited, too: it may have been stolen.
func TestTrustedCallers(t *testing.T) {
	l, now := newLimit(), time.Now()
	for range trustedBurst {
		require.NoError(t, l.trusted(now))
	}
	require.Error(t, l.trusted(now))
	require.NoError(t, l.trusted(now.Add(trustedEvery)))
	require.NoError(t, l.stranger("10.0.0.1:1", now), "what they are refused holds nobody else up")
}

// Many addresses are limited together, and do not fill the memory.
func TestManyCallers(t *testing.T) {
	l, start := newLimit(), time.Now()
	const calls, every = 100_000, 100 * time.Millisecond
	admitted := 0
	for i := range calls {
		if l.stranger(fmt.Sprintf("10.%d.%d.%d:1", i>>16&0xff, i>>8&0xff, i&0xff), start.Add(time.Duration(i)*every)) == nil {
			admitted++
		}
	}
	took := calls * every
	require.LessOrEqual(t, admitted, strangersBurst+int(took/strangersEvery))
	require.Greater(t, admitted, maxCallers)
	require.LessOrEqual(t, len(l.callers), maxCallers)
}

func TestCallerOf(t *testing.T) {
	for addr, want := range map[string]string{
		"10.0.0.1:1234":              "10.0.0.1/32",
		"[::ffff:10.0.0.1]:1234":     "10.0.0.1/32",
		"[2001:db8:1:2:3:4:5:6]:1":   "2001:db8:1:2::/64",
		"[fe80::1%eth0]:1":           "fe80::/64",
		"":                           "invalid Prefix",
		"@":                          "invalid Prefix",
		"name-that-is-no-address:80": "invalid Prefix",
	} {
		require.Equal(t, want, callerOf(addr).String())
	}
	require.Equal(t, netip.Prefix{}, callerOf("x"))
}
