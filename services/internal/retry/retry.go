// Package retry spaces attempts.
package retry

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// BackOff returns pauses that grow from the first to the most.
func BackOff(first, most time.Duration) *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = first, most
	return b
}

// Pause waits; it returns false when ctx ended first.
func Pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
