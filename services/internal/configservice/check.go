package configservice

import (
	"context"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/gen/go/poco/config/v1/configv1connect"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/config/peers"
	"github.com/poco-ai/poco/services/internal/config/schema"
	"github.com/poco-ai/poco/services/internal/version"
)

const (
	// peerTimeout is how long one peer may take to answer.
	peerTimeout = 3 * time.Second
	// maxAnswerBytes bounds what is read of an answer: who answers may be
	// anybody.
	maxAnswerBytes = 1 << 20
)

// CheckPeers implements configv1connect.ConfigServiceHandler. It is open,
// because it is for finding out that tokens differ, and tells no value.
func (s *service) CheckPeers(ctx context.Context, _ *configv1.CheckPeersRequest) (*configv1.CheckPeersResponse, error) {
	if err := s.admit(ctx); err != nil {
		return nil, err
	}
	s.Config.Refresh()
	var others, own []peerURL
	for _, p := range s.peerURLs() {
		if p.service == s.Config.Service() {
			own = append(own, p)
		} else {
			others = append(others, p)
		}
	}
	reports := make([]*configv1.PeerReport, len(others))
	checks := make([]*configv1.PeerCheck, len(own))
	var asking sync.WaitGroup
	for i, p := range others {
		asking.Go(func() { reports[i] = s.compareWith(ctx, p) })
	}
	for i, p := range own {
		asking.Go(func() { checks[i] = s.checkOwn(ctx, p) })
	}
	asking.Wait()
	if len(checks) > 0 {
		reports = append(reports, &configv1.PeerReport{
			Service: s.Config.Service(), Reachable: true, Version: version.String(), Checks: checks,
		})
	}
	return &configv1.CheckPeersResponse{Service: s.Config.Service(), Version: version.String(), Peers: reports}, nil
}

// peerURL is a setting that holds the URL of a service.
type peerURL struct {
	env     string
	service string
	url     string
}

// peerURLs are the services that this one has the URLs of.
func (s *service) peerURLs() []peerURL {
	self, ok := schema.Named(s.Config.Service())
	if !ok {
		return nil
	}
	report := s.Config.Report()
	var out []peerURL
	for _, setting := range self.Settings() {
		if url := config.FieldOf(report, setting.GetEnv()).GetValue(); setting.GetPeer() != "" && url != "" {
			out = append(out, peerURL{setting.GetEnv(), setting.GetPeer(), url})
		}
	}
	return out
}

// compareWith asks one peer.
func (s *service) compareWith(ctx context.Context, p peerURL) *configv1.PeerReport {
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	client := configv1connect.NewConfigServiceClient(connect.NewClient(
		connecthttp.NewTransport(s.peers, p.url, connecthttp.WithReadMaxBytes(maxAnswerBytes))))
	settings := s.Config.Shared()
	report, err := peers.Compare(ctx, client, s.Config.Service(), p.service, settings, s.Token)
	if err != nil {
		report = &configv1.PeerReport{Service: p.service, Error: peers.Explain(err)}
	}
	if token := slices.IndexFunc(settings, isInternalToken); token >= 0 && peers.IsRefused(err) {
		report.Reachable, report.Checks = true, []*configv1.PeerCheck{peers.Refused(p.service, settings[token])}
	}
	report.Env = p.env
	return report
}

// isInternalToken finds the token that peers want to be shown.
func isInternalToken(s config.Shared) bool { return s.Env == "INTERNAL_API_TOKEN" }

// newPeerClient returns a client for single calls to services, which are asked
// directly. It is net/http's and not grpcclient's, because its errors tell apart
// why a peer cannot be reached.
func newPeerClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:       (&net.Dialer{Timeout: peerTimeout}).DialContext,
			DisableKeepAlives: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
