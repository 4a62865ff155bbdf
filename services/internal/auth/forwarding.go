package auth

import (
	"slices"
	"strings"
)

// What proxies, load balancers, content delivery networks and sign-in proxies
// tell of the call that they pass on, in lower case. Many let callers choose what
// is sent: what matters is that one of these headers is there, not what it says.
var (
	// forwardingNames are whole names.
	forwardingNames = []string{
		"via", "max-forwards", "cdn-loop", "proxy-connection", "x-host", "x-scheme", "x-proxy-id", "x-proxyuser-ip", "x-netlify-ip",
		"x-gt-viewer-ip", "x-middleton-ip", "x-varnish", "x-bluecoat-via", "x-cloud-trace-context", "x-request-start",
		"x-site-deployment-id", "disguised-host", "x-tencent-ua", "x-webauth-user", "x-amz-cf-id",
	}
	// forwardingPrefixes are of families of headers, which grow.
	forwardingPrefixes = []string{
		"akamai-", "ali-cdn-", "cf-", "cloudfront-", "eo-", "fastly-", "fly-", "remote-", "tailscale-", "x-akamai-", "x-amzn-",
		"x-appengine-", "x-appgw-", "x-arr-", "x-auth-request-", "x-authentik-", "x-azure-", "x-envoy-", "x-goog-", "x-ms-client-",
		"x-nf-", "x-original-", "x-pomerium-", "x-remote-", "x-sucuri-", "x-vercel-",
	}
	// forwardingParts are what names say in their midst, no matter who made them.
	forwardingParts = []string{"forwarded", "client-ip", "clientip", "connecting-ip", "real-ip"}
)

// IsForwarding tells whether a request header, in any case, shows that a call
// was passed on by somebody: its connection then says nothing of who calls.
func IsForwarding(name string) bool {
	name = strings.ToLower(name)
	return slices.Contains(forwardingNames, name) ||
		slices.ContainsFunc(forwardingPrefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) ||
		slices.ContainsFunc(forwardingParts, func(part string) bool { return strings.Contains(name, part) })
}
