package configservice

import (
	"context"
	"net"
	"net/netip"
	"net/url"

	"connectrpc.com/connect/v2"

	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// authorize lets those pass to whom the settings are open.
func (s *service) authorize(ctx context.Context) error {
	if info, ok := connect.CallInfoForServerContext(ctx); ok && s.isOpenTo(info) {
		return nil
	}
	return rpcerror.Unauthenticated("the internal token, or the clients', is required: Authorization: Bearer TOKEN")
}

// isOpenTo tells whether a caller shows a token. In development, as long as there
// is no token for clients, a direct caller on the same machine needs none.
func (s *service) isOpenTo(info *connect.CallInfo) bool {
	authorization := info.RequestHeader().Get("Authorization")
	if authorization == "" {
		return s.openLocally() && isDirectLoopback(info)
	}
	shown := auth.BearerToken(authorization)
	return s.Token.Equal(shown) || s.ClientToken.Equal(shown)
}

// isDirectLoopback tells whether a call comes from this machine and was not
// passed on by a proxy, which would make any caller look local.
func isDirectLoopback(info *connect.CallInfo) bool {
	host, _, err := net.SplitHostPort(info.PeerAddr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || !ip.Unmap().IsLoopback() {
		return false
	}
	for name := range info.RequestHeader().All() {
		if auth.IsForwarding(name) {
			return false
		}
	}
	// What a page embeds is fetched without an Origin.
	return info.RequestHeader().Get("Sec-Fetch-Site") != "cross-site" && isLocalOrigin(info.RequestHeader().Get("Origin"))
}

// isLocalOrigin refuses pages of other sites that a browser on this machine
// has open.
func isLocalOrigin(origin string) bool {
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil {
		return false
	}
	if u.Hostname() == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err == nil && ip.Unmap().IsLoopback()
}
