// Package egress is the way out of the machine: the standard variables that name
// proxies and the machine's certificate authorities, for this process and for
// those it starts. What services say to each other never goes through a proxy:
// it would see their tokens.
package egress

import (
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"golang.org/x/net/http/httpproxy"
)

// proxies are the variables that name proxies, by which each kind is found in
// both cases of letters.
var proxies = []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"}

const noProxy = "NO_PROXY"

// Authorities are the variables that name files of certificate authorities.
var Authorities = []string{"SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"}

// AuthorityFolders are those that name folders of them.
var AuthorityFolders = []string{"SSL_CERT_DIR", "GIT_SSL_CAPATH"}

// systemAuthorities is where OpenSSL and GnuTLS find the system's own.
const systemAuthorities = "/etc/ssl/certs"

// loopback is never reached through a proxy. Some programs know no networks.
var loopback = []string{"localhost", "127.0.0.1", "::1", "127.0.0.0/8"}

// Environment returns what a process that is started here needs to find its way
// out: the proxies in both cases of letters, for there are programs that know
// only one, and the machine's authorities as each program looks for them. The
// hosts of direct, which are URLs, and loopback are left out of the proxies.
func Environment(direct ...string) map[string]string {
	return environment(lookup, direct...)
}

// List is an environment as processes take it.
func List(env map[string]string) []string {
	list := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}

// Proxy returns the proxy of a request, as http.ProxyFromEnvironment does, and
// knows ALL_PROXY.
func Proxy(r *http.Request) (*url.URL, error) { return proxyFor(lookup)(r.URL) }

func lookup(name string) string {
	return os.Getenv(name) //nolint:forbidigo // The machine's way out, which is no setting of a service's.
}

// either finds a variable in one of both cases of letters.
func either(get func(string) string, name string) string {
	if value := get(name); value != "" {
		return value
	}
	return get(strings.ToLower(name))
}

func proxyFor(get func(string) string) func(*url.URL) (*url.URL, error) {
	all := either(get, "ALL_PROXY")
	config := httpproxy.Config{HTTPProxy: either(get, "HTTP_PROXY"), HTTPSProxy: either(get, "HTTPS_PROXY"), NoProxy: excepted(get)}
	if config.HTTPProxy == "" {
		config.HTTPProxy = all
	}
	if config.HTTPSProxy == "" {
		config.HTTPSProxy = all
	}
	return config.ProxyFunc()
}

func environment(get func(string) string, direct ...string) map[string]string {
	env := map[string]string{}
	proxied := false
	for _, name := range proxies {
		upper, lower := get(name), get(strings.ToLower(name))
		if upper == "" && lower == "" {
			continue
		}
		proxied = true
		if upper == "" {
			upper = lower
		}
		if lower == "" {
			lower = upper
		}
		env[name], env[strings.ToLower(name)] = upper, lower
	}
	fill(env)
	if proxied {
		except := excepted(get, direct...)
		env[noProxy], env[strings.ToLower(noProxy)] = except, except
	}
	for _, name := range slices.Concat(Authorities, AuthorityFolders) {
		if value := get(name); value != "" {
			env[name] = value
		}
	}
	trust(env)
	return env
}

// fill gives programs that do not know ALL_PROXY what it says, as far as they
// could use it: few speak SOCKS.
func fill(env map[string]string) {
	all := env["ALL_PROXY"]
	if !strings.HasPrefix(all, "http://") && !strings.HasPrefix(all, "https://") {
		return
	}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY"} {
		if env[name] == "" {
			env[name], env[strings.ToLower(name)] = all, all
		}
	}
}

// excepted is NO_PROXY: the machine's own of both cases, and what is never
// reached through a proxy.
func excepted(get func(string) string, direct ...string) string {
	var hosts []string
	for _, name := range []string{noProxy, strings.ToLower(noProxy)} {
		hosts = append(hosts, entries(get(name))...)
	}
	hosts = append(hosts, loopback...)
	for _, raw := range direct {
		if u, err := url.Parse(raw); err == nil && u.Hostname() != "" {
			hosts = append(hosts, u.Hostname())
		}
	}
	var once []string
	for _, host := range hosts {
		if !slices.Contains(once, host) {
			once = append(once, host)
		}
	}
	return strings.Join(once, ",")
}

// entries are the hosts that a NO_PROXY lists.
func entries(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

// trust tells each program about authorities that were told to another one.
func trust(env map[string]string) {
	unless := func(name, value string) {
		if env[name] == "" && value != "" {
			env[name] = value
		}
	}
	file, extra := env["SSL_CERT_FILE"], env["NODE_EXTRA_CA_CERTS"]
	unless("NODE_EXTRA_CA_CERTS", file)
	// Git's library reads none of the others.
	if file == "" && extra != "" && env["GIT_SSL_CAINFO"] == "" && isFolder(systemAuthorities) {
		// What is extra comes on top of the system's.
		unless("GIT_SSL_CAPATH", systemAuthorities)
	}
	unless("GIT_SSL_CAINFO", file)
	unless("GIT_SSL_CAINFO", extra)
	unless("GIT_SSL_CAPATH", first(env["SSL_CERT_DIR"]))
}

func isFolder(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// first is the first folder of a list.
func first(list string) string {
	dir, _, _ := strings.Cut(list, ":")
	return dir
}

// IsLoopback tells whether a host is this machine as it sees itself.
func IsLoopback(host string) bool {
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsLoopback() || ip.IsUnspecified()
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}
