package auth_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/auth"
)

func TestIsForwarding(t *testing.T) {
	for _, name := range []string{
		"X-Forwarded-For", "x-forwarded-host", "Forwarded", "Via", "X-Real-IP", "X-Real-Ip", "CF-Connecting-IP", "True-Client-IP",
		"X-Client-IP", "X-Cluster-Client-Ip", "Fly-Client-IP", "Fastly-Client-IP", "X-Azure-ClientIP", "X-Azure-SocketIP",
		"X-Envoy-External-Address", "X-Original-Forwarded-For", "X-Vercel-Forwarded-For", "X-Appengine-User-Ip", "CDN-Loop",
		"DO-Connecting-IP", "WL-Proxy-Client-IP", "X-ProxyUser-Ip",
	} {
		require.True(t, auth.IsForwarding(name), name)
	}
	for _, name := range []string{"Authorization", "Content-Type", "X-Request-ID", "X-User-Id", "User-Agent", "Connect-Protocol-Version", "Accept", "Te"} {
		require.False(t, auth.IsForwarding(name), name)
	}
}
