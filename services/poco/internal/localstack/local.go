package localstack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"github.com/poco-ai/poco/services/internal/config"
)

// Local is the "poco up" that runs on a data folder.
type Local struct {
	addresses []string
	frontend  string
	token     config.Secret
}

// Find returns what runs on a data folder now. The error says why nothing is
// known of it; the zero Local is one that nobody started.
func Find(dir string) (Local, error) {
	o, err := ReadOccupant(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Local{}, fmt.Errorf("nothing runs on the data folder %s", dir)
	case errors.Is(err, fs.ErrPermission):
		return Local{}, fmt.Errorf("the data folder %s is that of %s", dir, ownerOf(dir))
	case err != nil:
		return Local{}, err
	}
	// A killed one has left its addresses behind. Anyone who listens there by now
	// must not be shown the token.
	lock := Lock(dir)
	free, err := lock.TryRLock()
	if err != nil {
		return Local{}, fmt.Errorf("look at the lock of the data folder: %w", err)
	}
	if free {
		return Local{}, errors.Join(fmt.Errorf("nothing runs on the data folder %s", dir), lock.Unlock())
	}
	token, err := ReadToken(dir)
	if err != nil {
		return Local{}, err
	}
	return Local{addresses: []string{o.Backend, o.Manager, o.Frontend}, frontend: o.Frontend, token: config.NewSecret(token)}, nil
}

// Token is what a service at a URL may be shown: the clients' token for one of
// the stack's own, nothing for another.
func (l Local) Token(target string) config.Secret {
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "http" {
		return config.Secret{}
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	if _, own := l.address(net.JoinHostPort(u.Hostname(), port)); !own {
		return config.Secret{}
	}
	return l.token
}

// SignInURL is the page with the token that opens it.
func (l Local) SignInURL() string { return SignInURL(l.frontend, l.token.Reveal()) }

// SignInURL is the page of a frontend that listens on an address, with the token
// that opens it. The token is in the fragment, which browsers send to nobody. The
// host is an address: what localhost leads to, another user may have.
func SignInURL(addr, token string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		addr = net.JoinHostPort("127.0.0.1", port)
	}
	return "http://" + addr + "/#token=" + url.QueryEscape(token) // as URLSearchParams reads it
}

// Dial connects to where the stack listens, whatever else a name of it means:
// the stack may have localhost on 127.0.0.1, and somebody else the same port on
// [::1].
func (l Local) Dial(ctx context.Context, dialer *net.Dialer, network, addr string) (net.Conn, error) {
	if own, ok := l.address(addr); ok {
		addr = own
	}
	return dialer.DialContext(ctx, network, addr)
}

// address is where the stack listens that is meant by host:port.
func (l Local) address(addr string) (string, bool) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", false
	}
	for _, own := range l.addresses {
		ownHost, ownPort, err := net.SplitHostPort(own)
		if err != nil || ownPort != port {
			continue
		}
		if host == ownHost || isLoopback(host) && isLocal(ownHost) {
			return own, true
		}
	}
	return "", false
}

// isLoopback tells whether a host is this machine, whatever a resolver says.
func isLoopback(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// isLocal tells whether what listens on a host is reached over loopback.
func isLocal(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && (ip.Unmap().IsLoopback() || ip.IsUnspecified())
}
