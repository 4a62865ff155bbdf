package run

import (
	"sync"
	"time"
)

// lease is how long the agent may work without hearing from the manager. It
// counts on the monotonic clock, which goes on while the process is frozen, so
// a deadline that passed meanwhile is found on waking.
//
// When it runs out, the agent is held: it does nothing from then on, because
// the run may be somebody else's, and loses nothing, because the manager may
// only be waiting for a backend that is away. A renewal lets it go on. Without
// any sign of the manager for heldLeases times as long, it is given up.
type lease struct {
	// hold, release and expired are called with the lease locked, so that they
	// come in the order of what happened.
	hold, release, expired func()

	mu    sync.Mutex
	state leaseState
	// deadline is until when the agent may work, patience how long a held one
	// waits for a sign of the manager, by the longest time it was ever given.
	deadline time.Time
	patience time.Duration
	// next is when the state changes unless something is heard.
	next  time.Time
	timer *time.Timer
}

// heldLeases is how many leases an agent is held before it is given up. It costs
// memory only, and backend and manager may be away by turns.
const heldLeases = 4

type leaseState int

const (
	leaseValid leaseState = iota
	leaseHeld
	leaseOver
)

// newLease starts a lease. expired is called at most once.
func newLease(ttl time.Duration, hold, release, expired func()) *lease {
	l := &lease{hold: hold, release: release, expired: expired, deadline: time.Now().Add(ttl), patience: heldLeases * ttl}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next = l.deadline
	l.timer = time.AfterFunc(ttl, l.check)
	return l
}

// renew takes in what the manager says: how long the agent may work, or, with
// nothing left, that the manager waits for the backend and the agent is to be
// held. After the end it only allows reporting again: the agent stays stopped.
func (l *lease) renew(ttl time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deadline = time.Now().Add(max(ttl, 0))
	switch {
	case l.state == leaseOver:
	case ttl > 0:
		l.patience = max(l.patience, heldLeases*ttl)
		if l.state == leaseHeld {
			l.state = leaseValid
			l.release()
		}
		l.wait(ttl)
	default:
		l.holdLocked()
	}
}

// mayReport says whether the manager is known to hold the run.
func (l *lease) mayReport() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Now().Before(l.deadline)
}

func (l *lease) holdLocked() {
	if l.state == leaseValid {
		l.state = leaseHeld
		l.hold()
	}
	l.wait(l.patience)
}

func (l *lease) wait(d time.Duration) {
	l.next = time.Now().Add(d)
	l.timer.Reset(d)
}

func (l *lease) check() {
	l.mu.Lock()
	defer l.mu.Unlock()
	left := time.Until(l.next)
	switch {
	case l.state == leaseOver:
	case left > 0:
		l.timer.Reset(left)
	case l.state == leaseValid:
		l.holdLocked()
	default:
		l.state = leaseOver
		l.expired()
	}
}

// stop ends the watch over the deadline.
func (l *lease) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state = leaseOver
	l.timer.Stop()
}
