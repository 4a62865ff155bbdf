package egress

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Complaint is what is wrong with one variable, and what to do. It is for people,
// goes on from the variable's name, and holds no password.
type Complaint struct{ Env, Message string }

// schemes are how this process and those that it starts can speak to a proxy.
var schemes = []string{"http", "https", "socks5", "socks5h"}

// Check returns what of the variables that name proxies, and exceptions from
// them, would be left out without a word, or fail with each connection.
func Check(get func(string) string) []Complaint {
	var complaints []Complaint
	check := func(name string, wrong func(string) string) {
		for _, env := range []string{name, strings.ToLower(name)} {
			if value := get(env); value != "" {
				if message := wrong(value); message != "" {
					complaints = append(complaints, Complaint{env, message})
				}
			}
		}
	}
	for _, name := range proxies {
		check(name, wrongProxy)
	}
	check(noProxy, wrongExceptions)
	return complaints
}

const proxyFix = ", so that none is used or reached: write http://HOST:PORT, and %XX for special characters of a password"

// wrongProxy says what is wrong with a proxy; empty when it can be used.
func wrongProxy(value string) string {
	u, err := parseProxy(value)
	if err != nil {
		return "cannot be read as a proxy's URL" + proxyFix
	}
	port, err := strconv.Atoi(u.Port())
	switch {
	case !slices.Contains(schemes, u.Scheme):
		return fmt.Sprintf("names a proxy by the scheme %q, and not by one of %s", u.Scheme, strings.Join(schemes, ", ")) + proxyFix
	case u.Hostname() == "":
		return "names no host" + proxyFix
	case u.Port() != "" && (err != nil || port < 1 || port > math.MaxUint16):
		return "names the port " + u.Port() + ", and there are 1 to 65535" + proxyFix
	default:
		return ""
	}
}

// parseProxy reads a proxy's URL, or HOST:PORT. Its error may have a password.
func parseProxy(value string) (*url.URL, error) {
	u, err := url.Parse(value)
	if err == nil && u.Host != "" {
		return u, nil
	}
	if strings.Contains(value, "/") {
		return nil, fmt.Errorf("neither a URL nor HOST:PORT: %s", value)
	}
	return url.Parse("http://" + value)
}

// wrongExceptions says what is wrong with the first entry that can match no host;
// empty when there is none.
func wrongExceptions(value string) string {
	for _, entry := range entries(value) {
		host := entry
		if _, rest, ok := strings.Cut(host, "://"); ok {
			host = rest
		}
		host, path, hasPath := strings.Cut(host, "/")
		host = host[strings.LastIndex(host, "@")+1:]
		_, notAddress := netip.ParseAddr(host)
		_, _, notNetwork := net.ParseCIDR(entry)
		switch {
		case notNetwork == nil:
		case notAddress == nil && hasPath && path != "" && !strings.Contains(entry, "://"):
			return fmt.Sprintf("has an entry for %q that is no network: write ADDRESS/BITS", host)
		case host != entry:
			return fmt.Sprintf("has an entry for %q with more than a host, which matches none: leave out its scheme and path", host)
		case strings.Contains(entry, ";"):
			return "has a semicolon between hosts, which is read as a part of their names: separate them by commas"
		case entry != "*" && strings.Contains(strings.TrimPrefix(entry, "*."), "*"):
			return "has an entry with a * within it, which matches no host: write .DOMAIN, or ADDRESS/BITS"
		}
	}
	return ""
}
