// Package fetch gets what people name by its URL. What answers, and where the
// URL leads, is somebody else's: nothing in a private network or on this machine
// is reached that way unless the operator has named it.
package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/poco-ai/poco/services/internal/egress"
	"github.com/poco-ai/poco/services/internal/version"
)

const (
	// timeout bounds a fetch as a whole, answerTimeout the wait for its answer.
	timeout       = 15 * time.Minute
	answerTimeout = time.Minute
	dialTimeout   = 15 * time.Second
	maxRedirects  = 5
	github        = "https://github.com"
	// maxNameBytes leaves room below what file systems take for one name (255),
	// maxExtBytes is what of a name that is cut may be kept as its ending.
	maxNameBytes = 200
	maxExtBytes  = 20
)

// Options describes a Fetcher.
type Options struct {
	// PrivateHosts are hosts that may be reached although they are in a private
	// network, or this machine.
	PrivateHosts []string
	// GitHub replaces https://github.com.
	GitHub string
	// MaxBytes is the most that one fetch may bring.
	MaxBytes int64
}

// Fetcher fetches. It is safe for concurrent use.
type Fetcher struct {
	opts   Options
	client *http.Client
}

// File is what a URL leads to.
type File struct {
	// Body has to be closed.
	Body io.ReadCloser
	// Name is what the file is called where it comes from.
	Name string
	// Tree says that the body is a repository, tar in gzip, in one folder.
	Tree bool
}

// ErrPrivate: the host is in a private network, or this machine.
var ErrPrivate = errors.New("is in a private network or on the manager's machine: name its host in INPUT_PRIVATE_HOSTS if it may be reached")

// New returns a fetcher.
func New(opts Options) *Fetcher {
	opts.GitHub = cmp.Or(opts.GitHub, github)
	f := &Fetcher{opts: opts}
	f.client = &http.Client{Transport: &transport{proxied: base(egress.Proxy, new(net.Dialer).DialContext), direct: base(nil, f.dial), private: f.private}, CheckRedirect: redirect}
	return f
}

// Close releases idle connections.
func (f *Fetcher) Close() { f.client.CloseIdleConnections() }

func base(proxy func(*http.Request) (*url.URL, error), dial func(context.Context, string, string) (net.Conn, error)) *http.Transport {
	return &http.Transport{
		Proxy: proxy, DialContext: dial, TLSHandshakeTimeout: dialTimeout, ResponseHeaderTimeout: answerTimeout,
		IdleConnTimeout: answerTimeout, ForceAttemptHTTP2: true,
		// What is compressed stays so: it is the file.
		DisableCompression: true,
	}
}

func redirect(r *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	if r.URL.Scheme != "http" && r.URL.Scheme != "https" {
		return fmt.Errorf("it redirects to %s://", r.URL.Scheme)
	}
	return nil
}

// Get fetches a file, or a repository on GitHub, whose page's URL it takes for
// the repository. Its errors are for people, and name no password.
func (f *Fetcher) Get(ctx context.Context, raw string) (*File, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return nil, errors.New("needs an http(s) URL without user and password")
	}
	from, tree := f.download(u)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not done within %s", timeout))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		cancel()
		return nil, err
	}
	request.Header.Set("User-Agent", "poco/"+version.String())
	answer, err := f.client.Do(request) //nolint:bodyclose // The file's, which anyone who takes it closes.
	if err != nil {
		cancel()
		var failed *url.Error
		if errors.As(err, &failed) { // which repeats the URL
			err = failed.Err
		}
		return nil, fmt.Errorf("%s: %w", u.Redacted(), egress.ExplainUntrusted(err))
	}
	body := &body{ReadCloser: answer.Body, left: f.opts.MaxBytes, max: f.opts.MaxBytes, done: cancel}
	switch {
	case answer.StatusCode != http.StatusOK:
		return nil, errors.Join(fmt.Errorf("%s answers %s", u.Redacted(), answer.Status), body.Close())
	case answer.ContentLength > f.opts.MaxBytes:
		return nil, errors.Join(fmt.Errorf("%s has %d bytes, more than %d", u.Redacted(), answer.ContentLength, f.opts.MaxBytes), body.Close())
	}
	name := named(answer.Header.Get("Content-Disposition"))
	if tree {
		name = repositoryName(u)
	}
	return &File{Body: body, Name: cmp.Or(name, last(u), "download"), Tree: tree}, nil
}

// download is the URL to ask for: a repository's page is no repository.
func (f *Fetcher) download(u *url.URL) (from string, tree bool) {
	if !strings.EqualFold(u.Host, "github.com") {
		return u.String(), false
	}
	parts := strings.Split(strings.Trim(u.EscapedPath(), "/"), "/")
	if len(parts) < 2 {
		return u.String(), false
	}
	repository := f.opts.GitHub + "/" + parts[0] + "/" + strings.TrimSuffix(parts[1], ".git")
	switch {
	case len(parts) == 2:
		return repository + "/archive/HEAD.tar.gz", true
	case parts[2] == "tree" && len(parts) > 3:
		return repository + "/archive/" + strings.Join(parts[3:], "/") + ".tar.gz", true
	case parts[2] == "blob" && len(parts) > 4:
		return repository + "/raw/" + strings.Join(parts[3:], "/"), false
	default:
		return f.opts.GitHub + u.RequestURI(), false
	}
}

func repositoryName(u *url.URL) string {
	return strings.TrimSuffix(strings.Split(strings.Trim(u.Path, "/"), "/")[1], ".git")
}

// named is the name in a Content-Disposition; empty when there is none.
func named(disposition string) string {
	_, params, err := mime.ParseMediaType(disposition)
	if err != nil || params["filename"] == "" {
		return ""
	}
	// A path in it says nothing, whichever separator it has.
	return clean(path.Base(strings.ReplaceAll(params["filename"], `\`, "/")))
}

func last(u *url.URL) string { return clean(path.Base(u.Path)) }

// clean makes a name of somebody else's one that a file can have.
func clean(name string) string {
	name = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(name, "_"))
	if ext := path.Ext(name); len(name) > maxNameBytes {
		if len(ext) > maxExtBytes {
			ext = ""
		}
		name = strings.ToValidUTF8(name[:maxNameBytes-len(ext)], "") + ext
	}
	if name == "." || name == "/" || name == ".." {
		return ""
	}
	return name
}

// body bounds an answer, and ends its context with it.
type body struct {
	io.ReadCloser
	left, max int64
	done      context.CancelFunc
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("it has more than %d bytes", b.max)
	}
	return n, err
}

func (b *body) Close() error {
	b.done()
	return b.ReadCloser.Close()
}

// transport goes through the machine's proxy where there is one.
type transport struct {
	proxied, direct *http.Transport
	private         func(host string) bool
}

// RoundTrip implements http.RoundTripper. Where a name leads is the proxy's to
// find out, which may see another network: what is plainly private is refused.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	proxy, err := egress.Proxy(r)
	if err != nil {
		return nil, err
	}
	if proxy == nil {
		return t.direct.RoundTrip(r)
	}
	host := r.URL.Hostname()
	if t.private(host) {
		return t.proxied.RoundTrip(r)
	}
	addresses, err := net.DefaultResolver.LookupNetIP(r.Context(), "ip", host)
	if egress.IsLoopback(host) || err == nil && slices.ContainsFunc(addresses, isPrivate) {
		return nil, fmt.Errorf("%s %w", host, ErrPrivate)
	}
	return t.proxied.RoundTrip(r)
}

// CloseIdleConnections is for http.Client.
func (t *transport) CloseIdleConnections() {
	t.proxied.CloseIdleConnections()
	t.direct.CloseIdleConnections()
}

// private tells whether a host may be in a private network.
func (f *Fetcher) private(host string) bool {
	return slices.ContainsFunc(f.opts.PrivateHosts, func(allowed string) bool {
		return strings.EqualFold(strings.Trim(allowed, "[]"), strings.TrimSuffix(host, "."))
	})
}

// dial looks at the address that is dialed: a name can lead to another one each
// time it is asked for.
func (f *Fetcher) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: dialTimeout}
	if !f.private(host) {
		if egress.IsLoopback(host) {
			return nil, fmt.Errorf("%s %w", host, ErrPrivate)
		}
		dialer.Control = func(_, address string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err != nil {
				return err
			}
			if isPrivate(to.Addr()) {
				return fmt.Errorf("%s %w", host, ErrPrivate)
			}
			return nil
		}
	}
	return dialer.DialContext(ctx, network, addr)
}

// special are networks that are not the internet's, besides those that netip
// knows: IANA's special-purpose registries.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("240.0.0.0/4"),
	// IPv4 in IPv6, by which a translator leads to the networks above.
	netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("fec0::/10"), netip.MustParsePrefix("::/96"),
}

func isPrivate(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	return !ip.IsGlobalUnicast() || ip.IsPrivate() || slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(ip) })
}
