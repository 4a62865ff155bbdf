// Package grpcclient opens connections between the services.
package grpcclient

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/poco-ai/poco/services/internal/config"
)

const (
	// maxRequestBytes is the server's limit on requests.
	maxRequestBytes = 16 << 20
	// maxAnswerBytes bounds one answer. It is far above what there is: a worker
	// that holds a hundred runs with prompts of 1 MiB must be able to adopt them,
	// in one answer. gRPC's own limit is 4 MiB.
	maxAnswerBytes = 512 << 20
	// pingAfter of silence the other end is pinged, calls or not.
	pingAfter = 20 * time.Second
	// pingTimeout is how long the other end may take to answer a ping.
	pingTimeout = 10 * time.Second
	// reconnectBase and reconnectMax bound the pause between attempts to
	// connect. gRPC's own maximum of two minutes is long for a service that has
	// just been restarted.
	reconnectBase = 50 * time.Millisecond
	reconnectMax  = 3 * time.Second
	// connectTimeout bounds one attempt.
	connectTimeout = 5 * time.Second
	// streamWindow and connectionWindow keep streams of events flowing.
	streamWindow     = 1 << 20
	connectionWindow = 4 << 20
)

// Dial opens a connection to a service: plaintext HTTP/2 for http://, TLS for
// https://. It does not wait for the service. Every call carries the token when
// there is one, and the request's ids.
func Dial(baseURL string, token config.Secret, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	target, transport, err := parse(baseURL)
	if err != nil {
		return nil, err
	}
	all := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultServiceConfig(serviceConfig()),
		// No service has one in DNS. Where names come from a file and no DNS server
		// answers, as in a sandbox, asking for it takes longer than a run may take to start.
		grpc.WithDisableServiceConfig(),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingAfter, Timeout: pingTimeout, PermitWithoutStream: true}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: reconnectBase, Multiplier: 1.6, Jitter: 0.2, MaxDelay: reconnectMax},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithInitialWindowSize(streamWindow),
		grpc.WithInitialConnWindowSize(connectionWindow),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswerBytes), grpc.MaxCallSendMsgSize(maxRequestBytes)),
		grpc.WithChainUnaryInterceptor(sendIDs),
		grpc.WithChainStreamInterceptor(sendStreamIDs),
		// The proxy of the environment is for the internet, not for services.
		grpc.WithNoProxy(),
		grpc.WithIdleTimeout(0),
	}
	if token.IsSet() {
		all = append(all, grpc.WithPerRPCCredentials(Bearer(token)))
	}
	conn, err := grpc.NewClient(target, append(all, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("open a connection to %s: %w", target, err)
	}
	return conn, nil
}

// parse turns a base URL into a gRPC target. An error never repeats the URL,
// which may hold a password.
func parse(baseURL string) (string, credentials.TransportCredentials, error) {
	u, err := url.Parse(baseURL)
	if err != nil || u.Hostname() == "" {
		return "", nil, errors.New("the URL of a service has to look like http://host:port")
	}
	if u.User != nil || u.RawQuery != "" || strings.Trim(u.Path, "/") != "" {
		return "", nil, errors.New("the URL of a service has to be http://host:port alone, without user, path or query")
	}
	port := u.Port()
	switch u.Scheme {
	case "http":
		if port == "" {
			port = "80"
		}
		return target(u.Hostname(), port), insecure.NewCredentials(), nil
	case "https":
		if port == "" {
			port = "443"
		}
		return target(u.Hostname(), port), credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12}), nil
	default:
		return "", nil, errors.New("the URL of a service has to begin with http:// or https://")
	}
}

// target has names looked up by gRPC's own resolver, so that calls go round
// robin over all addresses of a service.
func target(host, port string) string {
	if net.ParseIP(host) != nil {
		return "passthrough:///" + net.JoinHostPort(host, port)
	}
	return "dns:///" + net.JoinHostPort(host, port)
}
