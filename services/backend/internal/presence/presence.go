// Package presence knows for how long a backend has been there without a gap.
//
// Anyone who must report to the backend by a deadline cannot while the backend, or
// its database, is away. So a deadline that passed counts only when the backend
// was there for long enough before. A backend that was killed knows nothing of
// the time before its start, one that was frozen finds out by its clocks, and one
// whose database did not answer by its own questions to it.
package presence

import (
	"context"
	"sync"
	"time"
)

// maxGap is how long there may be no proof that the backend is there. It is more
// than the time between two proofs, and far less than a lease.
const maxGap = 2500 * time.Millisecond

// Presence is this backend's. The zero value has never been there.
type Presence struct {
	mu    sync.Mutex
	since time.Time
	proof time.Time
}

// Proven says that the backend is there: it serves, and its database has just
// answered.
func (p *Presence) Proven() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.since.IsZero() || gap(p.proof, now) > maxGap {
		p.since = now
	}
	p.proof = now
}

// Lost says that the backend is not there: somebody asked it in vain.
func (p *Presence) Lost() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.since = time.Time{}
}

// For is how long the backend has been there without a gap; 0 when it is not.
func (p *Presence) For() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.since.IsZero() || gap(p.proof, now) > maxGap {
		return 0
	}
	return now.Sub(p.since)
}

// gap is the time between two moments by the clock that saw more of it: the
// monotonic one stands still while a machine sleeps, the other may be set.
func gap(from, to time.Time) time.Duration {
	return max(to.Sub(from), to.Round(0).Sub(from.Round(0)))
}

const (
	// interval is how often the database is asked.
	interval = time.Second
	// timeout bounds one question. Together they stay below maxGap.
	timeout = time.Second
)

// Keep proves the presence of a backend that serves, by asking its database,
// until ctx is done.
func (p *Presence) Keep(ctx context.Context, ask func(context.Context) error) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		asking, cancel := context.WithTimeout(ctx, timeout)
		err := ask(asking)
		cancel()
		if err == nil {
			p.Proven()
		} else {
			p.Lost()
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
