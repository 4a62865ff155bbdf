package configservice

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
)

// health is what matters of the answer of /healthz.
type health struct {
	Service  string `json:"service"`
	Instance string `json:"instance"`
}

// checkOwn finds out whether a URL under which others call this service leads
// back to this very process.
func (s *service) checkOwn(ctx context.Context, p peerURL) *configv1.PeerCheck {
	check := &configv1.PeerCheck{Env: p.env, Agreement: configv1.Agreement_AGREEMENT_MUST}
	found, err := s.askHealth(ctx, p.url)
	switch {
	case err != nil && s.listensOn(p.url):
		check.Result = configv1.PeerResult_PEER_RESULT_UNKNOWN
		check.Message = "cannot be reached from here; those who use it may still reach it, and its port is this service's"
	case err != nil:
		check.Result = configv1.PeerResult_PEER_RESULT_UNKNOWN
		check.Message = "cannot be reached from here, and its port is none that this service listens on: " +
			"correct it, unless the port is mapped on the way"
	case found.Instance == s.Instance:
		check.Result = configv1.PeerResult_PEER_RESULT_EQUAL
		check.Message = "leads to this process"
	case found.Service == s.Config.Service():
		check.Result = configv1.PeerResult_PEER_RESULT_DIFFERENT
		check.Message = "leads to another " + s.Config.Service() + ": each needs a URL of its own"
	default:
		check.Result = configv1.PeerResult_PEER_RESULT_DIFFERENT
		check.Message = "leads to something else than this service: correct host and port"
	}
	return check
}

// askHealth asks who answers under a base URL. The error is that nobody does;
// who does not answer like a service of Poco is nameless.
func (s *service) askHealth(ctx context.Context, base string) (health, error) {
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(base, "/")+"/healthz", nil)
	if err != nil {
		return health{}, err
	}
	response, err := s.peers.Do(request)
	if err != nil {
		return health{}, err
	}
	defer response.Body.Close()
	var found health
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil || json.Unmarshal(body, &found) != nil {
		return health{}, err
	}
	return found, nil
}

// listensOn tells whether a URL's port is one that the service listens on.
func (s *service) listensOn(base string) bool {
	u, err := url.Parse(base)
	if err != nil {
		return false
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	for _, addr := range s.Listening() {
		if tcp, ok := addr.(*net.TCPAddr); ok && strconv.Itoa(tcp.Port) == port {
			return true
		}
	}
	return false
}
