package auth

import (
	"slices"
	"strings"
)

// forwarding are headers with which proxies, load balancers and content delivery
// networks tell whose call they pass on, besides those that say so in their
// name. All are in lower case.
var forwarding = []string{
	"via", "forwarded", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "x-original-host", "x-original-url",
	"x-original-forwarded-for", "x-remote-ip", "x-remote-addr", "x-proxyuser-ip", "x-host", "client-ip", "true-client-ip",
	"cf-connecting-ip", "cf-connecting-ipv6", "cf-pseudo-ipv4", "cf-ray", "cf-visitor", "cdn-loop",
	"fastly-client-ip", "fastly-ff", "fly-client-ip", "fly-forwarded-port", "akamai-origin-hop",
	"x-appengine-user-ip", "x-nf-client-connection-ip", "x-vercel-forwarded-for", "do-connecting-ip",
	"x-azure-clientip", "x-azure-socketip", "x-azure-fdid", "x-amzn-trace-id", "x-envoy-external-address", "x-envoy-internal",
	"ali-cdn-real-ip", "x-proxy-id", "x-bluecoat-via", "proxy-connection",
}

// IsForwarding tells whether a request header, in any case, shows that a call
// was passed on by somebody: its connection then says nothing of who calls.
func IsForwarding(name string) bool {
	name = strings.ToLower(name)
	return slices.Contains(forwarding, name) || strings.Contains(name, "forwarded") || strings.Contains(name, "client-ip") ||
		strings.Contains(name, "connecting-ip") || strings.Contains(name, "real-ip")
}
