package auth_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/auth"
)

func TestIsForwarding(t *testing.T) {
	for by, names := range map[string][]string{
		"the standards":        {"Forwarded", "Via", "CDN-Loop", "Max-Forwards", "Proxy-Connection"},
		"most":                 {"X-Forwarded-For", "x-forwarded-host", "X-Forwarded", "X-Original-Forwarded-For", "X-Real-IP", "X-Real-Ip", "X-Client-IP", "Client-IP"},
		"Akamai":               {"True-Client-IP", "Akamai-Origin-Hop", "X-Akamai-Edgescape"},
		"Alibaba":              {"Ali-CDN-Real-IP"},
		"Amazon":               {"X-Amzn-Trace-Id", "X-Amz-Cf-Id", "CloudFront-Viewer-Address", "CloudFront-Forwarded-Proto"},
		"Apache and mod_jk":    {"X-ProxyUser-Ip", "WL-Proxy-Client-IP", "Proxy-Client-IP"},
		"Azure":                {"X-Azure-ClientIP", "X-Azure-SocketIP", "X-Azure-FDID", "X-AppGW-Trace-Id", "X-ARR-LOG-ID", "X-ARR-SSL", "X-SITE-DEPLOYMENT-ID", "DISGUISED-HOST", "X-MS-Client-Principal"},
		"Cloudflare":           {"CF-Connecting-IP", "CF-Connecting-IPv6", "CF-Pseudo-IPv4", "CF-Ray", "CF-IPCountry", "CF-Access-Jwt-Assertion"},
		"DigitalOcean":         {"DO-Connecting-IP"},
		"Envoy and Istio":      {"X-Envoy-External-Address", "X-Envoy-Internal", "X-Envoy-Original-Path"},
		"Ezoic and Gtranslate": {"X-Middleton-Ip", "X-GT-Viewer-IP"},
		"Fastly":               {"Fastly-Client-IP", "Fastly-FF", "Fastly-SSL"},
		"Fly.io":               {"Fly-Client-IP", "Fly-Forwarded-Port", "Fly-Region"},
		"Google":               {"X-Appengine-User-IP", "X-Appengine-Country", "X-Cloud-Trace-Context", "X-Goog-Authenticated-User-Email", "X-Goog-IAP-JWT-Assertion"},
		"Heroku":               {"X-Request-Start"},
		"Imperva":              {"Incap-Client-IP", "X-Incap-Client-IP"},
		"Netlify and Vercel":   {"X-NF-Client-Connection-IP", "X-Vercel-Forwarded-For", "X-Vercel-Id", "X-Netlify-IP"},
		"nginx and its like":   {"X-Cluster-Client-Ip", "X-Original-URI", "X-Original-URL", "X-Original-Host", "X-Original-Method", "X-Scheme", "X-Host", "X-Remote-Addr", "X-Remote-IP", "Remote-Addr"},
		"sign-in proxies":      {"X-Auth-Request-User", "X-Authentik-Username", "X-Pomerium-Claim-Email", "X-WebAuth-User", "X-Remote-User", "Remote-User", "Tailscale-User-Login"},
		"Squid and Blue Coat":  {"X-Bluecoat-Via", "X-Proxy-ID"},
		"Sucuri":               {"X-Sucuri-ClientIP", "X-Sucuri-Country"},
		"Tencent":              {"X-Tencent-UA", "EO-Client-IP", "EO-Connecting-IP"},
		"Varnish":              {"X-Varnish"},
	} {
		t.Run(by, func(t *testing.T) {
			for _, name := range names {
				require.True(t, auth.IsForwarding(name), name)
			}
		})
	}
	for _, name := range []string{
		"Authorization", "Content-Type", "X-Request-ID", "X-User-Id", "User-Agent", "Connect-Protocol-Version", "Accept", "Te",
		"Origin", "Referer", "Host", "Traceparent", "Grpc-Timeout", "Grpc-Accept-Encoding", "Sec-Fetch-Site", "X-User-Agent", "X-Grpc-Web",
		"Cookie", "Cache-Control", "Content-Length", "Accept-Encoding", "X-Client-Request-Id",
	} {
		require.False(t, auth.IsForwarding(name), name)
	}
}
