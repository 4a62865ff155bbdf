// Package configservice is poco.config.v1.ConfigService, which every service
// serves: what it is configured to do, what can be configured, and whether it
// agrees with the services it works with.
package configservice

import (
	"context"
	"net"
	"net/http"
	"sync"

	"connectrpc.com/connect/v2"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/gen/go/poco/config/v1/configv1connect"
	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/config/peers"
)

// Config is a service's configuration in use; config.Loaded is one.
type Config interface {
	// Service is the service's name.
	Service() string
	// Refresh looks whether the sources have changed, and reloads them then.
	Refresh()
	// Report has no secrets.
	Report() *configv1.GetConfigResponse
	// Shared are the settings on which services have to agree.
	Shared() []config.Shared
	// Comparable are those and all secrets.
	Comparable() []config.Shared
}

// Options describe a service.
type Options struct {
	Config Config
	// Token opens all but CheckPeers, and is shown to peers.
	Token config.Secret
	// ClientToken opens them, too. Where there is one, being on the same machine
	// opens nothing.
	ClientToken config.Secret
	// Instance is this process's in the answer of /healthz, by which the service
	// recognises itself.
	Instance string
	// Listening are the addresses that the service listens on.
	Listening func() []net.Addr
}

// service is the handler of ConfigService.
type service struct {
	Options

	// openLocally: a caller on the same machine may see the settings.
	openLocally func() bool
	schema      func() (*configv1.GetConfigSchemaResponse, error)
	limits      limits
	peers       *http.Client
}

// Register serves ConfigService on a server.
func Register(server *connect.Server, opts Options) {
	development := config.FieldOf(opts.Config.Report(), config.EnvironmentVariable).GetValue() == config.Development
	tokenWanted := auth.EverSet(opts.ClientToken)
	s := &service{
		Options:     opts,
		openLocally: func() bool { return development && !tokenWanted() },
		schema:      sync.OnceValues(func() (*configv1.GetConfigSchemaResponse, error) { return schemaOf(opts.Config.Service()) }),
		limits:      newLimits(),
		peers:       newPeerClient(),
	}
	configv1connect.RegisterConfigServiceHandler(server, s)
}

// GetConfig implements configv1connect.ConfigServiceHandler.
func (s *service) GetConfig(ctx context.Context, _ *configv1.GetConfigRequest) (*configv1.GetConfigResponse, error) {
	if err := s.authorize(ctx); err != nil {
		return nil, err
	}
	s.Config.Refresh()
	return s.Config.Report(), nil
}

// GetConfigSchema implements configv1connect.ConfigServiceHandler.
func (s *service) GetConfigSchema(ctx context.Context, _ *configv1.GetConfigSchemaRequest) (*configv1.GetConfigSchemaResponse, error) {
	if err := s.authorize(ctx); err != nil {
		return nil, err
	}
	return s.schema()
}

// ComparePeer implements configv1connect.ConfigServiceHandler. Who may see the
// settings can compare every secret.
func (s *service) ComparePeer(ctx context.Context, req *configv1.ComparePeerRequest) (*configv1.ComparePeerResponse, error) {
	if err := s.authorize(ctx); err != nil {
		return nil, err
	}
	if err := s.admit(ctx); err != nil {
		return nil, err
	}
	s.Config.Refresh()
	return peers.Answer(s.Config.Service(), s.Config.Comparable(), req)
}
