package run

import (
	"sync"
	"time"
)

// lease is how long the executor may work without hearing from the manager. It
// counts on the monotonic clock, which goes on while the process is frozen, so
// a deadline that passed meanwhile is found on waking.
type lease struct {
	mu       sync.Mutex
	deadline time.Time
	timer    *time.Timer
	expired  func()
	over     bool
}

// newLease starts a lease; expired is called once when it runs out.
func newLease(ttl time.Duration, expired func()) *lease {
	l := &lease{deadline: time.Now().Add(ttl), expired: expired}
	l.timer = time.AfterFunc(ttl, l.check)
	return l
}

// renew moves the deadline. After the lease has run out it only allows
// reporting again: the agent stays stopped.
func (l *lease) renew(ttl time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deadline = time.Now().Add(ttl)
	if !l.over {
		l.timer.Reset(ttl)
	}
}

// held says whether the manager is known to hold the run.
func (l *lease) held() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Now().Before(l.deadline)
}

func (l *lease) check() {
	l.mu.Lock()
	left := time.Until(l.deadline)
	if l.over || left > 0 {
		if !l.over {
			l.timer.Reset(left)
		}
		l.mu.Unlock()
		return
	}
	l.over = true
	l.mu.Unlock()
	l.expired()
}

// stop ends the watch over the deadline.
func (l *lease) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	l.timer.Stop()
}
