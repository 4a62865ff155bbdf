// Package page is the built-in web page: it lists sessions, takes a prompt and
// follows one session live. It is plain HTML, CSS and JavaScript, embedded.
package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
)

//go:embed static
var static embed.FS

// Settings is what the page is told at run time, under the names of the
// environment (NEXT_PUBLIC_*), so that one build serves every deployment.
type Settings struct {
	// APIURL is the base of the backend's public services.
	APIURL string `json:"NEXT_PUBLIC_API_URL"`
	// Intervals of pages that cannot watch, in milliseconds.
	SessionPollingInterval int64 `json:"NEXT_PUBLIC_SESSION_POLLING_INTERVAL"`
	MessagePollingInterval int64 `json:"NEXT_PUBLIC_MESSAGE_POLLING_INTERVAL"`
	// Version of this build.
	Version string `json:"version"`
}

// New returns the handlers of the page by pattern.
func New(settings Settings) (map[string]http.Handler, error) {
	handlers := map[string]http.Handler{}
	policy := contentPolicy(settings.APIURL)
	files, err := fs.ReadDir(static, "static")
	if err != nil {
		return nil, fmt.Errorf("read embedded page: %w", err)
	}
	for _, file := range files {
		content, err := static.ReadFile(path.Join("static", file.Name()))
		if err != nil {
			return nil, fmt.Errorf("read embedded page: %w", err)
		}
		pattern := "GET /" + file.Name()
		if file.Name() == "index.html" {
			pattern = "GET /{$}"
		}
		handlers[pattern] = secured(policy, asset(file.Name(), content))
	}
	config, err := json.Marshal(settings)
	if err != nil {
		return nil, fmt.Errorf("encode page settings: %w", err)
	}
	handlers["GET /config.json"] = secured(policy, asset("config.json", config))
	return handlers, nil
}

// asset serves one file, revalidated by its content each time it is used.
func asset(name string, content []byte) http.Handler {
	sum := sha256.Sum256(content)
	etag := `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", etag)
		w.Header().Set("Cache-Control", "no-cache")
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(content))
	})
}

func secured(policy string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "no-referrer")
		next.ServeHTTP(w, r)
	})
}

// contentPolicy allows the page's own files and calls of its API, nothing
// else: what an agent wrote is shown as text and can load nothing.
func contentPolicy(apiURL string) string {
	connect := "'self'"
	if u, err := url.Parse(apiURL); err == nil && u.Host != "" {
		connect += " " + u.Scheme + "://" + u.Host
	}
	return strings.Join([]string{
		"default-src 'none'",
		"script-src 'self'",
		"style-src 'self'",
		"img-src 'self' data:",
		"connect-src " + connect,
		"base-uri 'none'",
		"form-action 'none'",
		"frame-ancestors 'none'",
	}, "; ")
}
