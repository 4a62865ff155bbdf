package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"

	"connectrpc.com/connect/v2"

	"github.com/poco-ai/poco/services/internal/egress"
	"github.com/poco-ai/poco/services/internal/stranger"
)

// StrangerError means that the address answers and is no backend's: trying again
// does not correct that. It is for people.
type StrangerError struct{ message string }

// Error implements error.
func (e *StrangerError) Error() string { return e.message }

// strange makes an error of what answered and of what to do.
func strange(at *url.URL, what, hint string) error {
	if hint == "" {
		hint = "POCO_URL (or --backend) has to be the address of a backend, for example http://localhost:8000, or of a frontend with /api/v1 at its end"
	}
	return &StrangerError{fmt.Sprintf("what is at %s://%s is no backend of Poco: %s\n%s", at.Scheme, at.Host, what, hint)}
}

// otherScheme is the hint where TLS is spoken on one side only.
func otherScheme(at *url.URL) string {
	scheme := "https"
	if at.Scheme == scheme {
		scheme = "http"
	}
	return fmt.Sprintf("POCO_URL (or --backend) has the wrong scheme: try %s://%s", scheme, at.Host)
}

// explain tells the failed connections that will fail again the same way.
func (s showing) explain(r *http.Request, err error) error {
	at := r.URL
	var record tls.RecordHeaderError
	var certificate *tls.CertificateVerificationError
	var network *net.OpError
	_, malformed, isMalformed := strings.Cut(err.Error(), "malformed HTTP ")
	switch {
	case r.Context().Err() != nil, errors.As(err, &network) && network.Op == "dial":
		return err
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &record):
		return strange(at, "it speaks no TLS", otherScheme(at))
	case errors.As(err, &certificate):
		return &StrangerError{fmt.Sprintf("the backend at %s://%s cannot be trusted: %s", at.Scheme, at.Host, egress.ExplainUntrusted(err))}
	case s.wantsTLS(r):
		return strange(at, "it wants TLS", otherScheme(at))
	case isMalformed:
		return strange(at, "it speaks no HTTP, but says the "+malformed, "")
	default:
		return err
	}
}

// check tells the answers of a backend, and of a proxy whose backend is away, from
// those of others, which it returns as an error.
func (s showing) check(r *http.Request, resp *http.Response) error {
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")) // None is none of those below.
	status := resp.StatusCode
	switch {
	case status == http.StatusOK && (media == "application/proto" || media == "application/connect+proto"):
		return nil
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests,
		status >= http.StatusInternalServerError && status != http.StatusNotImplemented:
		return nil
	case status/100 == 3:
		return strange(r.URL, fmt.Sprintf("it answers HTTP %d with a redirect to %s, which is not followed", status, stranger.RedirectTarget(resp)), "")
	}
	body, err := stranger.Peek(resp)
	switch {
	case status != http.StatusOK && media == "application/json" && (err != nil || resp.Header.Get("Content-Encoding") != "" || isRefusal(body)):
		return nil //nolint:nilerr // anyone who reads on finds it broken off
	case status == http.StatusBadRequest && s.wantsTLS(r):
		return strange(r.URL, "it wants TLS", otherScheme(r.URL))
	default:
		return strange(r.URL, fmt.Sprintf("it answers HTTP %d with %s", status, stranger.Describe(resp, body, "")), "")
	}
}

// wantsTLS tells whether TLS is spoken where a request was sent without. Servers
// have many ways of refusing that, the end of the connection among them.
func (s showing) wantsTLS(r *http.Request) bool {
	if r.URL.Scheme != "http" {
		return false
	}
	ctx, cancel := context.WithTimeout(r.Context(), dialTimeout)
	defer cancel()
	conn, err := s.next.DialContext(ctx, "tcp", net.JoinHostPort(r.URL.Hostname(), cmp.Or(r.URL.Port(), "80")))
	if err != nil {
		return false
	}
	defer conn.Close()
	//nolint:gosec // Nothing is said to whom it reached.
	return tls.Client(conn, &tls.Config{ServerName: r.URL.Hostname(), InsecureSkipVerify: true}).HandshakeContext(ctx) == nil
}

// isRefusal tells whether a body is an error of the Connect protocol.
func isRefusal(body []byte) bool {
	var refusal struct {
		Code connect.Code `json:"code"`
	}
	return json.Unmarshal(body, &refusal) == nil && refusal.Code != 0
}
