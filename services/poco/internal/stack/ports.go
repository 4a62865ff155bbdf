package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// askTimeout bounds the question who uses a port.
const askTimeout = 2 * time.Second

// The embedded servers, as messages name them.
const (
	postgresServer = "embedded Postgres"
	s3Server       = "embedded S3 server"
)

// listen takes a port for a service. setting is the variable that changes it.
func listen(ctx context.Context, service, host string, port int, setting string) (net.Listener, error) {
	address := net.JoinHostPort(host, strconv.Itoa(port))
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	switch {
	case err == nil:
		return listener, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, taken(ctx, service, host, port, setting)
	default:
		return nil, fmt.Errorf("the %s cannot listen on %s: %w", service, address, err)
	}
}

// free tells, as listen does, when a port is not free.
func free(ctx context.Context, service, host string, port int, setting string) error {
	listener, err := listen(ctx, service, host, port, setting)
	if err != nil {
		return err
	}
	return listener.Close()
}

// taken says which port is in use, by whom if that can be told, and what to do.
func taken(ctx context.Context, service, host string, port int, setting string) error {
	address := clientAddr(host, port)
	who := "another program"
	if isPoco(ctx, address) {
		who = "another Poco"
	}
	return fmt.Errorf("port %d, which the %s needs, is taken by %s: stop it, or set %s to another port (%s=0 takes a free one)",
		port, service, who, setting, setting)
}

// isPoco asks whether a Poco service answers: each one has the configuration
// service among those whose health it knows.
func isPoco(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/grpc.health.v1.Health/Check",
		strings.NewReader(`{"service":"poco.config.v1.ConfigService"}`))
	if err != nil {
		return false
	}
	request.Header.Set("Content-Type", "application/json")
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	if err != nil {
		return false
	}
	return response.Body.Close() == nil && response.StatusCode == http.StatusOK
}
