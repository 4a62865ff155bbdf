package configservice

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// How often CheckPeers and ComparePeer may be called, each by itself. One call
// of ComparePeer is one guess at each setting. Strangers all together have six
// guesses a minute at a setting after a first thirty, or 8,670 on the first day.
// At a random secret of 64 bits, the weakest that is compared, that is a chance
// of less than one in 10^15.
const (
	// callerEvery is the pause after which one address may call again, once it
	// has used up callerBurst.
	callerEvery = 20 * time.Second
	callerBurst = 10
	// strangersEvery and strangersBurst are for all addresses together: an
	// attacker may have many.
	strangersEvery = 10 * time.Second
	strangersBurst = 30
	// trustedEvery and trustedBurst are for callers who show the token. They have
	// no use for guesses.
	trustedEvery = 100 * time.Millisecond
	trustedBurst = 100
	// maxCallers is how many addresses are remembered before those are forgotten
	// that have been silent for long enough to start anew. Only admitted calls
	// are remembered, so that no more than about
	// strangersBurst + callerBurst*callerEvery/strangersEvery stay.
	maxCallers = 256
	// prefixIPv6 is what one customer is given: the addresses in it count as one.
	prefixIPv6 = 64
)

// limit limits the rate of one procedure.
type limit struct {
	known *rate.Limiter

	mu        sync.Mutex
	strangers *rate.Limiter
	callers   map[netip.Prefix]*rate.Limiter
}

func newLimit() *limit {
	return &limit{
		known:     rate.NewLimiter(rate.Every(trustedEvery), trustedBurst),
		strangers: rate.NewLimiter(rate.Every(strangersEvery), strangersBurst),
		callers:   map[netip.Prefix]*rate.Limiter{},
	}
}

// trusted admits a caller who has shown the token, or says when to try again.
func (l *limit) trusted(now time.Time) error {
	_, wait := reserve(l.known, now)
	return tooOften(wait)
}

// stranger admits a call from an address, host:port, or says when to try again.
func (l *limit) stranger(addr string, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := callerOf(addr)
	caller, ok := l.callers[key]
	if !ok {
		caller = rate.NewLimiter(rate.Every(callerEvery), callerBurst)
	}
	// The caller's own limit first: who is over it must not use up that of all.
	own, wait := reserve(caller, now)
	if wait > 0 {
		return tooOften(wait)
	}
	if _, wait := reserve(l.strangers, now); wait > 0 {
		own.CancelAt(now)
		return tooOften(wait)
	}
	if len(l.callers) >= maxCallers {
		l.forget(now)
	}
	l.callers[key] = caller
	return nil
}

// forget drops the callers whose limit is as good as new.
func (l *limit) forget(now time.Time) {
	for key, caller := range l.callers {
		if caller.TokensAt(now) >= callerBurst {
			delete(l.callers, key)
		}
	}
}

// reserve takes one call, or none when it would have to wait.
func reserve(l *rate.Limiter, now time.Time) (*rate.Reservation, time.Duration) {
	r := l.ReserveN(now, 1)
	wait := r.DelayFrom(now)
	if wait > 0 {
		r.CancelAt(now)
	}
	return r, wait
}

func tooOften(wait time.Duration) error {
	if wait <= 0 {
		return nil
	}
	return rpcerror.ResourceExhausted("TOO_MANY_CALLS", "called too often", wait)
}

// callerOf is what counts as one caller: an IPv4 address, or a customer's
// prefix of IPv6. Addresses that cannot be read count as one.
func callerOf(addr string) netip.Prefix {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return netip.Prefix{}
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Prefix{}
	}
	ip = ip.Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = prefixIPv6
	}
	prefix, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}
