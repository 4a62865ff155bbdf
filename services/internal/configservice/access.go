package configservice

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// authorize lets those pass who show a token. In development, as long as there is
// no token for clients, a direct caller on the same machine needs none.
func (s *service) authorize(ctx context.Context) error {
	info, ok := connect.CallInfoForServerContext(ctx)
	switch {
	case ok && s.knows(info):
		return nil
	case ok && s.openLocally() && info.RequestHeader().Get("Authorization") == "" && isDirectLoopback(info):
		return nil
	default:
		return rpcerror.Unauthenticated("the internal token, or the clients', is required: Authorization: Bearer TOKEN")
	}
}

// admit counts a call against a limit: the one of callers who show the token, or
// the one of strangers.
func (s *service) admit(ctx context.Context, limit *limit) error {
	info, ok := connect.CallInfoForServerContext(ctx)
	if ok && s.knows(info) {
		return limit.trusted(time.Now())
	}
	addr := ""
	if ok {
		addr = info.PeerAddr
	}
	return limit.stranger(addr, time.Now())
}

// knows tells whether a caller shows one of the tokens.
func (s *service) knows(info *connect.CallInfo) bool {
	shown := auth.BearerToken(info.RequestHeader().Get("Authorization"))
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
	return isLocalOrigin(info.RequestHeader().Get("Origin"))
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
