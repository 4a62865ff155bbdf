// Package proxy passes the page's API calls on to the backend's public
// services.
package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"time"

	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/rpcserver"
)

// Prefix is where the backend's public services are found on the frontend.
const Prefix = "/api/v1"

const (
	// dialTimeout bounds a connection attempt, so that a backend that is gone
	// shows as an error and not as a page that waits.
	dialTimeout = 5 * time.Second
	// pingAfter is the silence after which the connection to the backend is
	// probed, and pingTimeout how long the answer may take. Streams are silent
	// for up to 15 seconds (the backend's heartbeat).
	pingAfter   = 20 * time.Second
	pingTimeout = 10 * time.Second
)

// public matches the procedures that browsers may call. Everything else of the
// backend (the run queue, its settings, its metrics) stays inside.
var public = regexp.MustCompile(`^/poco\.backend\.v1\.[A-Za-z]+/[A-Za-z]+$`)

// dropped are request headers that a browser must not set: who a user is, is
// believed only from other services. The token that the page shows goes on to the
// backend, which judges it.
var dropped = []string{"X-User-Id", "X-Internal-Token", "Cookie"}

// New returns the handler for everything below Prefix. It passes calls of
// public procedures to the backend, streams both ways without buffering, adds
// X-Forwarded-* and answers errors in the Connect protocol's JSON: not_found
// for other paths, unavailable (HTTP 502) while the backend cannot be reached.
func New(backendURL string, logger *slog.Logger) (http.Handler, error) {
	target, err := url.Parse(backendURL)
	if err != nil {
		return nil, fmt.Errorf("parse backend URL: %w", err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.SetXForwarded()
			for _, name := range dropped {
				r.Out.Header.Del(name)
			}
			if ids := logging.IDsOf(r.In.Context()); ids.RequestID != "" {
				r.Out.Header.Set(rpcserver.RequestIDHeader, ids.RequestID)
				r.Out.Header.Set(rpcserver.TraceIDHeader, ids.TraceID)
			}
		},
		ModifyResponse: func(r *http.Response) error {
			if logging.IDsOf(r.Request.Context()).RequestID != "" { // told by the server already
				r.Header.Del(rpcserver.RequestIDHeader)
				r.Header.Del(rpcserver.TraceIDHeader)
			}
			return nil
		},
		Transport:     newTransport(),
		FlushInterval: -1,
		ErrorLog:      slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if errors.Is(err, context.Canceled) {
				return // the browser went away
			}
			logger.WarnContext(r.Context(), "backend not reached", "path", r.URL.Path, logging.KeyError, err)
			writeError(w, http.StatusBadGateway, "unavailable", "the backend cannot be reached")
		},
	}
	protection := http.NewCrossOriginProtection()
	return http.StripPrefix(Prefix, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isForeign(protection, r) {
			writeError(w, http.StatusForbidden, "permission_denied", "cross-origin request refused")
			return
		}
		if r.URL.RawPath != "" || !public.MatchString(r.URL.Path) {
			writeError(w, http.StatusNotFound, "not_found", "no such procedure")
			return
		}
		// Streams outlive the server's ordinary limits.
		control := http.NewResponseController(w)
		_ = control.SetReadDeadline(time.Time{})  // not every connection has one
		_ = control.SetWriteDeadline(time.Time{}) // likewise
		proxy.ServeHTTP(w, r)
	})), nil
}

// isForeign tells whether a page of another site makes a visitor's browser call.
// One that only reads, with GET, is as foreign as one that starts a run.
func isForeign(protection *http.CrossOriginProtection, r *http.Request) bool {
	call := *r
	call.Method = http.MethodPost
	return protection.Check(&call) != nil
}

func newTransport() *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	// One cleartext HTTP/2 connection carries all streams.
	protocols.SetUnencryptedHTTP2(true)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	transport.Protocols = protocols
	transport.DisableCompression = true
	transport.DialContext = dialer().DialContext
	transport.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout}
	return transport
}

// writeError answers in the form that Connect clients read.
func writeError(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	body, err := json.Marshal(map[string]string{"code": code, "message": message})
	if err != nil {
		return // two strings always marshal
	}
	_, _ = w.Write(body) // the client is gone: nobody to tell
}

func dialer() *net.Dialer { return &net.Dialer{Timeout: dialTimeout, KeepAlive: pingAfter} }
