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

// authorize lets those pass who show the token, and in development a direct
// caller on the same machine.
func (s *service) authorize(ctx context.Context) error {
	info, ok := connect.CallInfoForServerContext(ctx)
	switch {
	case ok && s.Token.Equal(bearer(info)):
		return nil
	case ok && s.development && info.RequestHeader().Get("Authorization") == "" && isDirectLoopback(info):
		return nil
	default:
		return rpcerror.Unauthenticated("the internal token is required: Authorization: Bearer TOKEN")
	}
}

// admit counts a call against a limit: the one of callers who show the token, or
// the one of strangers.
func (s *service) admit(ctx context.Context, limit *limit) error {
	info, ok := connect.CallInfoForServerContext(ctx)
	if ok && s.Token.Equal(bearer(info)) {
		return limit.trusted(time.Now())
	}
	addr := ""
	if ok {
		addr = info.PeerAddr
	}
	return limit.stranger(addr, time.Now())
}

func bearer(info *connect.CallInfo) string {
	return auth.BearerToken(info.RequestHeader().Get("Authorization"))
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
