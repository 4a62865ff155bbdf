// Package fleet asks running services about their settings.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"google.golang.org/protobuf/proto"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/gen/go/poco/config/v1/configv1connect"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/config/peers"
	"github.com/poco-ai/poco/services/internal/redact"
	"github.com/poco-ai/poco/services/internal/sanitize"
)

const (
	// dialTimeout bounds one attempt to connect.
	dialTimeout = 5 * time.Second
	// answerTimeout bounds one question. CheckPeers itself asks others.
	answerTimeout = 20 * time.Second
	// longestMessage is how much is shown of what a service says when it refuses,
	// in bytes.
	longestMessage = 300
)

// errNameless means that what answers does not say which service it is.
var errNameless = connect.NewError(connect.CodeUnimplemented, "the answer names no service")

// Target is a service that is to be asked.
type Target struct {
	// Service is what the target should be, for example "manager"; empty when it
	// is to tell itself.
	Service string
	// Setting is where the URL comes from: a variable or a flag.
	Setting string
	URL     string
}

// Report is what a service tells.
type Report interface {
	proto.Message
	// GetService is the service's name.
	GetService() string
}

// Reply is what a target tells, or why it does not.
type Reply[R Report] struct {
	Target
	// Report is nil when Err is not.
	Report R
	// Err says in words for people why there is no report.
	Err error
}

// Answer is what a target says about its settings.
type Answer = Reply[*configv1.GetConfigResponse]

// PeerAnswer is what a target says about how it gets on with its peers.
type PeerAnswer = Reply[*configv1.CheckPeersResponse]

// Name is the service's own name, or the expected one while it is not known.
func (r Reply[R]) Name() string {
	if name := r.Report.GetService(); name != "" {
		return name
	}
	return r.Service
}

// AnyFailed tells whether one of the targets has told nothing.
func AnyFailed[R Report](replies []Reply[R]) bool {
	return slices.ContainsFunc(replies, func(r Reply[R]) bool { return r.Err != nil })
}

// Access is how a client of this user reaches services.
type Access interface {
	// Token is the clients' token that a service at a URL may be shown; unset when
	// there is none.
	Token(url string) config.Secret
	// Dial connects to a service.
	Dial(ctx context.Context, dialer *net.Dialer, network, addr string) (net.Conn, error)
}

// Client asks services. It shows them the clients' token, or the internal one.
type Client struct {
	internal config.Secret
	access   Access
	http     *http.Client
}

// New returns a client; nothing is sent yet.
func New(internal config.Secret, access Access) *Client {
	dialer := &net.Dialer{Timeout: dialTimeout}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil // which would see the token; the one of the environment is for the internet
	transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return access.Dial(ctx, dialer, network, addr)
	}
	// The token is for the service at this URL, and for no other.
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{internal: internal, access: access, http: &http.Client{Transport: transport, CheckRedirect: stay}}
}

// service returns the RPC client of one target.
func (c *Client) service(target Target) configv1connect.ConfigServiceClient {
	transport := connecthttp.NewTransport(c.http, strings.TrimRight(target.URL, "/"))
	return configv1connect.NewConfigServiceClient(connect.NewClient(transport))
}

// ComparePeer asks a target, which is the named service, which of these settings
// it has the same values for.
func (c *Client) ComparePeer(ctx context.Context, target Target, self, service string, settings []config.Shared) (*configv1.PeerReport, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return peers.Compare(ctx, c.service(target), self, service, settings, c.tokens(target)...)
}

// tokens are what a target may be shown, the one that fits it best first.
func (c *Client) tokens(target Target) []config.Secret {
	return []config.Secret{c.access.Token(target.URL), c.internal}
}

// Ask asks all targets at once and returns their answers in the same order.
func (c *Client) Ask(ctx context.Context, targets []Target) []Answer {
	return ask(ctx, c, targets, c.report)
}

// CheckPeers makes all targets compare themselves with their peers.
func (c *Client) CheckPeers(ctx context.Context, targets []Target) []PeerAnswer {
	return ask(ctx, c, targets, func(ctx context.Context, target Target) (*configv1.CheckPeersResponse, error) {
		return peers.WithToken(ctx, c.tokens(target), func(ctx context.Context) (*configv1.CheckPeersResponse, error) {
			return c.service(target).CheckPeers(ctx, &configv1.CheckPeersRequest{})
		})
	})
}

func ask[R Report](ctx context.Context, c *Client, targets []Target, call func(context.Context, Target) (R, error)) []Reply[R] {
	replies := make([]Reply[R], len(targets))
	var asking sync.WaitGroup
	for i, target := range targets {
		asking.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, answerTimeout)
			defer cancel()
			replies[i].Target = target
			report, err := call(ctx, target)
			if err == nil && report.GetService() == "" {
				err = errNameless
			}
			if err != nil {
				replies[i].Err = c.explain(target, err)
				return
			}
			replies[i].Report = report
		})
	}
	asking.Wait()
	return replies
}

func (c *Client) report(ctx context.Context, target Target) (*configv1.GetConfigResponse, error) {
	return peers.WithToken(ctx, c.tokens(target), func(ctx context.Context) (*configv1.GetConfigResponse, error) {
		return c.service(target).GetConfig(ctx, &configv1.GetConfigRequest{})
	})
}

// explain turns a failed call into words that say what to do.
func (c *Client) explain(target Target, err error) error {
	switch connect.CodeOf(err) {
	case connect.CodeUnauthenticated, connect.CodePermissionDenied:
		if c.internal.IsSet() {
			return errors.New("refuses the INTERNAL_API_TOKEN of this environment: use the token that the service has")
		}
		return errors.New("wants the internal token: set INTERNAL_API_TOKEN (or INTERNAL_API_TOKEN_FILE) to the token that the service has")
	case connect.CodeUnimplemented:
		return fmt.Errorf("is no service of Poco, or an older one: check %s", target.Setting)
	case connect.CodeResourceExhausted:
		if isTooLarge(err) {
			return fmt.Errorf("answers more than any service of Poco: check %s", target.Setting)
		}
		return errors.New("has been asked too often: try again in a minute")
	case connect.CodeDeadlineExceeded:
		return fmt.Errorf("does not answer in time: is it alive, and is %s right?", target.Setting)
	default:
	}
	var network *net.OpError
	if errors.As(err, &network) {
		return fmt.Errorf("cannot be reached (%w): is it running, and is %s right?", network.Err, target.Setting)
	}
	return fmt.Errorf("cannot be asked (%s): check %s", c.message(target, err), target.Setting)
}

// isTooLarge tells whether an answer that exhausts what is allowed does so here:
// by its size.
func isTooLarge(err error) bool {
	var rpc *connect.Error
	return errors.As(err, &rpc) && !rpc.IsRemote()
}

// message is what an error says, as far as it is worth showing: who answers may
// be anybody, and may send the token back.
func (c *Client) message(target Target, err error) string {
	said := err.Error()
	var rpc *connect.Error
	if errors.As(err, &rpc) && rpc.Message() != "" {
		said = rpc.Message()
	}
	for _, token := range c.tokens(target) {
		if token.IsSet() {
			said = strings.ReplaceAll(said, token.Reveal(), redact.Mark)
		}
	}
	if len(said) > longestMessage {
		said = sanitize.Head(said, longestMessage) + "…"
	}
	return said
}

// Titles names answers for the heads of columns: by service, and by address
// where there are several of one service.
func Titles(answers []Answer) []string {
	count := map[string]int{}
	for _, answer := range answers {
		count[answer.Name()]++
	}
	titles := make([]string, len(answers))
	for i, answer := range answers {
		titles[i] = answer.Name()
		if u, err := url.Parse(answer.URL); err == nil && count[answer.Name()] > 1 {
			titles[i] = strings.TrimSpace(answer.Name() + " " + u.Host)
		}
	}
	return titles
}
