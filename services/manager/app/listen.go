package app

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
)

// listenAddrs are the addresses to bind. One that another of them covers cannot
// be bound as well, and is reached anyway.
func listenAddrs(hosts []string, port int32) []string {
	var addrs []string
	for _, host := range hosts {
		covered := slices.ContainsFunc(hosts, func(other string) bool { return covers(other, host) })
		if addr := net.JoinHostPort(host, strconv.Itoa(int(port))); !covered && !slices.Contains(addrs, addr) {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// covers tells whether a server that listens on all addresses, :: or those of
// IPv4, listens on host, too.
func covers(all, host string) bool {
	wildcard, err := netip.ParseAddr(all)
	if err != nil || !wildcard.IsUnspecified() || all == host {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return wildcard.Is6() || err == nil && addr.Is4() || host == "localhost"
}
