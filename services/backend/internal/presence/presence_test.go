package presence

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p Presence
		require.Zero(t, p.For(), "never there")
		prove := func(times int) {
			for range times {
				p.Proven()
				time.Sleep(time.Second)
			}
		}
		prove(5)
		require.Equal(t, 5*time.Second, p.For())

		// Frozen, and asked before the next proof.
		time.Sleep(5 * time.Second)
		require.Zero(t, p.For())
		prove(3)
		require.Equal(t, 3*time.Second, p.For(), "counted from the return")

		p.Lost()
		require.Zero(t, p.For())
		prove(2)
		require.Equal(t, 2*time.Second, p.For())
	})
}

// A laptop that slept: the monotonic clock stood still.
func TestGapSeesSleep(t *testing.T) {
	now := time.Now()
	slept := now.Round(0).Add(-time.Hour)
	require.Equal(t, time.Hour, gap(slept, now))
	require.Zero(t, gap(now, now))
}
