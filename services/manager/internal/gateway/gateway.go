// Package gateway passes executors' calls to the model API on, so that no
// executor ever holds the real credential.
package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/egress"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

const (
	// maxRequestBytes is above what the model API takes (32 MiB).
	maxRequestBytes = 64 << 20
	// idleConnections to the model API are kept for the next calls.
	idleConnections = 64
	// apiKeyPrefix marks a key of Anthropic's console, which goes into x-api-key;
	// every other token is a bearer token.
	apiKeyPrefix = "sk-ant-api"
)

// VerifyToken returns the context of what a model token was made for, an
// attempt of a run that is held; it ends when the attempt no longer is, with
// the cause that VerifyToken fails with from then on.
type VerifyToken func(token string) (held context.Context, err error)

// Options describes a gateway.
type Options struct {
	API API
	// BaseURL of the model API.
	BaseURL string
	// Token of the model API, and the key that stands in when there is none: it is
	// sent as one, whatever it looks like.
	Token, APIKey config.Secret
	// Refresh, when set, is called before each call: a token that was rotated a
	// moment ago may be refused already, and the run would fail for it.
	Refresh func()
	Verify  VerifyToken
	Logger  *slog.Logger
	// Registerer takes the metrics.
	Registerer prometheus.Registerer
	// Transport is http.DefaultTransport's like when nil.
	Transport http.RoundTripper
}

// Gateway is a reverse proxy for one model API. It streams, keeps nothing and
// logs neither tokens nor bodies.
type Gateway struct {
	opts    Options
	target  *url.URL
	proxy   *httputil.ReverseProxy
	metrics metrics
}

// New returns a gateway, to be mounted at its API's Prefix + "/".
func New(opts Options) (*Gateway, error) {
	target, err := url.Parse(opts.BaseURL)
	if err != nil {
		return nil, errors.New(opts.API.setting + " is not a URL")
	}
	if opts.Transport == nil {
		opts.Transport = newTransport()
	}
	g := &Gateway{opts: opts, target: target, metrics: newMetrics(opts.API.name, opts.Registerer)}
	g.proxy = &httputil.ReverseProxy{
		Rewrite:        g.rewrite,
		Transport:      opts.Transport,
		FlushInterval:  -1, // every piece of a stream at once
		ErrorHandler:   g.upstreamFailed,
		ModifyResponse: g.checkAnswer,
		ErrorLog:       slog.NewLogLogger(opts.Logger.Handler(), slog.LevelDebug),
	}
	return g, nil
}

func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  egress.Proxy,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           idleConnections,
		MaxIdleConnsPerHost:    idleConnections,
		IdleConnTimeout:        90 * time.Second,
		TLSHandshakeTimeout:    10 * time.Second,
		ExpectContinueTimeout:  time.Second,
		DisableCompression:     true, // see rewrite
		OnProxyConnectResponse: proxyAnswered,
	}
}

// ServeHTTP checks the model token and passes the call on while its run is held.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rest := strings.TrimPrefix(r.URL.Path, g.opts.API.Prefix)
	if r.Method == http.MethodHead && strings.Trim(rest, "/") == "" {
		return // the CLI looks whether anybody is there before its first call
	}
	if !g.opts.API.passesOn(r.Method, rest) {
		writeError(w, http.StatusNotFound, "not_found_error", "the model gateway passes on "+g.opts.API.calls+" only")
		return
	}
	held, err := g.opts.Verify(tokenOf(r))
	if err != nil {
		g.refuse(w, err)
		return
	}
	runID, sessionID := logging.SubjectOf(held)
	logging.About(r.Context(), runID, sessionID)
	if g.opts.Refresh != nil {
		g.opts.Refresh()
	}
	if !g.opts.Token.IsSet() && !g.opts.APIKey.IsSet() {
		writeError(w, http.StatusUnauthorized, "authentication_error",
			g.opts.API.credentials+": give one to the executor manager")
		return
	}
	// A call in flight ends with its run, or when a manager that stops lets go of
	// it: it may last for minutes, and the CLI makes it again.
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	defer context.AfterFunc(held, func() { cancel(context.Cause(held)) })() // the run's context, beside the call's

	counted := &countingWriter{ResponseWriter: w}
	start := time.Now()
	r = r.WithContext(ctx)
	r.Body = http.MaxBytesReader(w, r.Body, maxRequestBytes)
	defer func() {
		g.metrics.observe(counted.status, counted.bytes, time.Since(start))
		g.opts.Logger.DebugContext(held, "model call", "path", rest, "status", counted.status,
			"response_bytes", counted.bytes, "duration", time.Since(start))
	}()
	g.proxy.ServeHTTP(counted, r)
}

func tokenOf(r *http.Request) string {
	if token := auth.BearerToken(r.Header.Get("Authorization")); token != "" {
		return token
	}
	return r.Header.Get("X-Api-Key")
}

func (g *Gateway) refuse(w http.ResponseWriter, err error) {
	var known *rpcerror.Error
	if errors.As(err, &known) && known.Code() == connect.CodeUnavailable {
		// The CLI waits and tries again, as it does when the API is overloaded.
		w.Header().Set("Retry-After", "1")
		writeError(w, http.StatusServiceUnavailable, "overloaded_error", "the executor manager is starting or stopping")
		return
	}
	writeError(w, http.StatusUnauthorized, "authentication_error", "the token is not valid, or its run is over")
}

// rewrite makes the call one of the manager's own: its token, and nothing that
// tells who the executor is.
func (g *Gateway) rewrite(pr *httputil.ProxyRequest) {
	pr.Out.URL.Path = strings.TrimPrefix(pr.In.URL.Path, g.opts.API.Prefix)
	pr.Out.URL.RawPath = ""
	pr.SetURL(g.target)
	pr.Out.Host = g.target.Host
	for _, name := range []string{"Authorization", "X-Api-Key", "Cookie", "Forwarded", "X-Real-Ip", "Via", "X-User-Id", "X-Request-Id", "Origin", "Referer"} {
		pr.Out.Header.Del(name)
	}
	for name := range pr.Out.Header {
		if strings.HasPrefix(name, "X-Forwarded-") || strings.HasPrefix(name, "Proxy-") {
			pr.Out.Header.Del(name)
		}
	}
	// Whose answer it is has to be read.
	pr.Out.Header.Set("Accept-Encoding", "identity")
	g.opts.API.authorize(pr.Out.Header, g.opts.Token, g.opts.APIKey)
}

// upstreamFailed answers for a model API that could not be reached.
func (g *Gateway) upstreamFailed(w http.ResponseWriter, r *http.Request, err error) {
	var (
		tooLarge *http.MaxBytesError
		foreign  *foreignError
		notHeld  *rpcerror.Error
	)
	switch {
	case errors.As(context.Cause(r.Context()), &notHeld):
		g.refuse(w, notHeld)
	case r.Context().Err() != nil: // the executor hung up
		w.WriteHeader(http.StatusBadGateway)
	case errors.As(err, &tooLarge):
		writeError(w, http.StatusRequestEntityTooLarge, "request_too_large", "the request is larger than the model API takes")
	default:
		if !errors.As(err, &foreign) {
			foreign = g.unreachable(err)
		}
		g.opts.Logger.WarnContext(r.Context(), "model API did not answer", "host", g.target.Host, logging.KeyError, foreign)
		writeError(w, foreign.status, foreign.kind, foreign.message)
	}
}

// scrub keeps the cause and leaves out the URL, which may hold a password.
func scrub(err error) error {
	var urlErr *url.Error
	if errors.As(err, &urlErr) {
		return urlErr.Err
	}
	return err
}

// writeError answers in a way that the clients of either API read, so that the agent
// shows it.
func writeError(w http.ResponseWriter, code int, kind, message string) {
	type detail struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	}
	body, err := json.Marshal(struct {
		Type  string `json:"type"`
		Error detail `json:"error"`
	}{"error", detail{kind, message}})
	if err != nil {
		http.Error(w, message, code)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(body) // nobody is left to tell
}
