package rpcserver

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// checkHost refuses calls that arrive over loopback under a foreign host name.
// A web page can make its own name mean 127.0.0.1 (DNS rebinding), and its
// calls would then look like calls from the same origin.
func checkHost(allowed []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		if ok && isLoopback(local) && !isOwnHost(r.Host, allowed) {
			http.Error(w, "the host name "+printable(r.Host)+" is not one of this service's: add it to ALLOWED_HOSTS", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func isLoopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// isOwnHost accepts what no foreign name can be: addresses, localhost, and the
// names an operator has listed.
func isOwnHost(hostPort string, allowed []string) bool {
	host := hostPort
	if h, _, err := net.SplitHostPort(hostPort); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost") ||
		slices.ContainsFunc(allowed, func(name string) bool { return strings.EqualFold(name, host) })
}

// printable keeps a hostile name from becoming anything but text.
func printable(name string) string {
	const longest = 100
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, name)
	return "\"" + clean[:min(len(clean), longest)] + "\""
}
