package gateway

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/url"

	"github.com/poco-ai/poco/services/internal/egress"
	"github.com/poco-ai/poco/services/internal/rpcserver"
	"github.com/poco-ai/poco/services/internal/stranger"
)

const (
	// onTheWay answers for what stands between the manager and the model API. The
	// CLI does not try again after this status, and shows the message.
	onTheWay = http.StatusFailedDependency
	// The kinds of errors that the model API itself has.
	kindAPI            = "api_error"
	kindAuthentication = "authentication_error"
)

// foreignError is an answer that is not the model API's, in words of its form.
type foreignError struct {
	status        int
	kind, message string
}

func (e *foreignError) Error() string { return e.message }

// checkAnswer tells the model API's answers from those of a proxy, a firewall,
// a sign-in page or a server at a wrong address. It returns a foreignError for
// the latter, so that nobody takes them for the API's word on the credential,
// and so that no redirect takes a run's token elsewhere.
func (g *Gateway) checkAnswer(resp *http.Response) error {
	resp.Header.Del("Set-Cookie")
	status := resp.StatusCode
	if status/100 == 3 {
		return g.foreign(onTheWay, kindAPI, "%s answered with a redirect (HTTP %d) to %s, which is not followed: %s",
			g.target.Host, status, stranger.RedirectTarget(resp), "check "+g.opts.API.setting+", and whether this network wants somebody to sign in")
	}
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")) // None is none of those below.
	page := media == "text/html"
	if status/100 == 2 && !page {
		if media == "text/event-stream" {
			rpcserver.Unbuffered(resp.Header)
		}
		return nil
	}
	body, err := stranger.Peek(resp)
	if err != nil {
		return err
	}
	said, isJSON, own := g.opts.API.readError(body)
	if own {
		return nil
	}
	by := fmt.Sprintf("%s answered HTTP %d with %s", g.target.Host, status, stranger.Describe(resp, body, said))
	switch {
	case status == http.StatusUnauthorized && !page:
		return g.foreign(status, kindAuthentication, "%s", by)
	case status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, status == http.StatusConflict, status >= 500:
		return g.foreign(status, kindAPI, "%s", by) // The CLI tries again.
	case status == http.StatusNotFound, status/100 == 2:
		return g.foreign(onTheWay, kindAPI, "%s, which is no answer of the model API: check %s, and whether this network wants somebody to sign in", by, g.opts.API.setting)
	case isJSON && status != http.StatusForbidden && status != http.StatusProxyAuthRequired:
		return nil // An API all the same, with errors of another form.
	default:
		return g.foreign(onTheWay, kindAPI, "%s, which is no answer of the model API: a proxy or firewall on the way refused the call", by)
	}
}

func (g *Gateway) foreign(status int, kind, format string, args ...any) error {
	return &foreignError{status: status, kind: kind, message: fmt.Sprintf(format, args...)}
}

// readError reads an error of the API's form, and what one of another form says.
func (api *API) readError(body []byte) (said string, isJSON, own bool) {
	var e struct {
		Type    string          `json:"type"`
		Error   json.RawMessage `json:"error"`
		Message string          `json:"message"`
		Detail  string          `json:"detail"`
	}
	if json.Unmarshal(body, &e) != nil {
		return "", json.Valid(body), false
	}
	var detail struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	}
	var plain string
	if json.Unmarshal(e.Error, &detail) != nil {
		_ = json.Unmarshal(e.Error, &plain) // Neither is nothing said.
	}
	own = api.own(e.Type, detail.Type, detail.Message)
	for _, said := range []string{detail.Message, e.Message, e.Detail, plain} {
		if said != "" {
			return said, true, own
		}
	}
	return "", true, own
}

// proxyError is a proxy's refusal to connect.
type proxyError struct{ proxy, status string }

func (e *proxyError) Error() string {
	return "the proxy " + e.proxy + " refused to connect: " + e.status
}

// proxyAnswered is called with a proxy's answer to CONNECT.
func proxyAnswered(_ context.Context, proxy *url.URL, _ *http.Request, resp *http.Response) error {
	if resp.StatusCode != http.StatusOK {
		return &proxyError{proxy: proxy.Host, status: resp.Status}
	}
	return nil
}

// unreachable words why a call could not be made. What trying again does not
// solve is told as such.
func (g *Gateway) unreachable(err error) *foreignError {
	var (
		dns         *net.DNSError
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
		proxy       *proxyError
	)
	status, hint := http.StatusBadGateway, ""
	switch {
	case errors.As(err, &proxy):
		status, hint = onTheWay, ": check HTTPS_PROXY and what the proxy allows"
	case errors.As(err, &dns) && dns.IsNotFound:
		status, hint = onTheWay, ": check "+g.opts.API.setting+" and the name server"
	case errors.As(err, &certificate):
		status = onTheWay
	case errors.As(err, &record):
		status, hint = onTheWay, ": no TLS is spoken there; check the scheme and port of "+g.opts.API.setting
	}
	return &foreignError{status: status, kind: kindAPI, message: "the model API at " + g.target.Host + " cannot be reached: " + egress.ExplainUntrusted(scrub(err)).Error() + hint}
}
