package rpcserver

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"connectrpc.com/connect/v2"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/gen/go/poco/config/v1/configv1connect"
	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// configService is poco.config.v1.ConfigService.
type configService struct {
	configv1connect.UnimplementedConfigServiceHandler
	reporter Reporter
	token    config.Secret
}

func registerConfigService(server *connect.Server, reporter Reporter, token config.Secret) {
	configv1connect.RegisterConfigServiceHandler(server, &configService{reporter: reporter, token: token})
}

// GetConfig returns the settings in use to who shows the internal token, and in
// development to a direct caller on the same machine.
func (c *configService) GetConfig(ctx context.Context, _ *configv1.GetConfigRequest) (*configv1.GetConfigResponse, error) {
	report := c.reporter.Report()
	info, ok := connect.CallInfoForServerContext(ctx)
	if !ok {
		return nil, rpcerror.Unauthenticated("the internal token is required")
	}
	authorization := info.RequestHeader().Get("Authorization")
	if c.token.Equal(auth.BearerToken(authorization)) {
		return report, nil
	}
	if authorization == "" && isDevelopment(report) && isDirectLoopback(info) {
		return report, nil
	}
	return nil, rpcerror.Unauthenticated("the internal token is required: Authorization: Bearer TOKEN")
}

func isDevelopment(report *configv1.GetConfigResponse) bool {
	for _, field := range report.GetFields() {
		if field.GetEnv() == config.EnvironmentVariable {
			return field.GetValue() == config.Development
		}
	}
	return false
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
		switch {
		case strings.HasPrefix(name, "X-Forwarded-"), name == "Forwarded", name == "X-Real-Ip", name == "Via":
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
