// Package dockerengine finds out whether the Docker engine of this machine can
// run executors, and where containers find this machine.
package dockerengine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

var (
	// ErrUnavailable means that the engine does not answer.
	ErrUnavailable = errors.New("container engine unavailable")
	// ErrImageMissing means that the engine does not have the executor image.
	ErrImageMissing = errors.New("executor image missing")
)

// GatewayHost is the name under which executor containers reach this machine.
const GatewayHost = "host.docker.internal"

// bridgeNetwork is the network that containers are in when none is named.
const bridgeNetwork = "bridge"

// New connects, lazily, to the engine that DOCKER_HOST and its sisters name,
// else to the local one. The API version is negotiated.
func New() (*client.Client, error) {
	engine, err := client.New(client.FromEnv)
	if err != nil {
		return nil, fmt.Errorf("container engine: %w", err)
	}
	if !strings.HasPrefix(engine.DaemonHost(), "tcp://") {
		return engine, nil
	}
	// The client would go through the machine's proxy, which is for what lies
	// outside. With TLS it makes a transport of its own.
	// Without HTTP/2, for which a transport gets TLS settings, from which the
	// client would take it that the engine speaks TLS.
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(true)
	direct, err := client.New(client.WithHTTPClient(&http.Client{Transport: transport, CheckRedirect: client.CheckRedirect}), client.FromEnv)
	if err != nil {
		return nil, fmt.Errorf("container engine: %w", err)
	}
	transport.Proxy = nil
	return direct, engine.Close()
}

// Check tells whether the engine answers and has the image. The error wraps
// ErrUnavailable or ErrImageMissing, and its text names the fix.
func Check(ctx context.Context, engine *client.Client, image string) error {
	if _, err := engine.Ping(ctx, client.PingOptions{}); err != nil {
		return Explain(err)
	}
	if image == "" {
		return fmt.Errorf("%w: set EXECUTOR_IMAGE to the executor image", ErrImageMissing)
	}
	if _, err := engine.ImageInspect(ctx, image); cerrdefs.IsNotFound(err) {
		return ImageMissing(engine, image)
	} else if err != nil {
		return Explain(err)
	}
	return nil
}

// ImageMissing says that the engine has no such image, and what to do.
func ImageMissing(engine *client.Client, image string) error {
	return fmt.Errorf("%w: the engine at %s has no image %q: build or pull it, or set EXECUTOR_IMAGE to another one",
		ErrImageMissing, engine.DaemonHost(), image)
}

// Explain turns an error of a call that did not reach the engine into
// ErrUnavailable with what to do, and passes every other one on.
func Explain(err error) error {
	if !client.IsErrConnectionFailed(err) {
		return fmt.Errorf("container engine: %w", err)
	}
	hint := "start it (systemctl start docker)"
	if strings.Contains(err.Error(), "permission denied") {
		hint = "add this user to the group docker"
	}
	// The client's own text names the address.
	return fmt.Errorf("%w: %w: %s, or set DOCKER_HOST, or use EXECUTOR_RUNTIME=process", ErrUnavailable, err, hint)
}

// bridgeName is the option of a bridge network that holds the name of its
// interface.
const bridgeName = "com.docker.network.bridge.name"

// BridgeAddress returns the address of this machine on which a service must
// listen so that containers reach it as GatewayHost. It is not valid when
// no address of this machine is one of the engine's network: the engine is in a
// virtual machine (Docker Desktop) that forwards to loopback, or elsewhere.
func BridgeAddress(ctx context.Context, engine *client.Client) (netip.Addr, error) {
	found, err := engine.NetworkInspect(ctx, bridgeNetwork, client.NetworkInspectOptions{})
	if cerrdefs.IsNotFound(err) {
		return netip.Addr{}, fmt.Errorf("the engine at %s has no network %q, in which executors run: let it have its default bridge, or use EXECUTOR_RUNTIME=process",
			engine.DaemonHost(), bridgeNetwork)
	}
	if err != nil {
		return netip.Addr{}, Explain(err)
	}
	local, err := addresses(net.InterfaceAddrs())
	if err != nil {
		return netip.Addr{}, fmt.Errorf("addresses of this machine: %w", err)
	}
	pools := found.Network.IPAM.Config
	for _, pool := range pools {
		if pool.Gateway.IsValid() && slices.Contains(local, pool.Gateway) {
			return pool.Gateway, nil
		}
	}
	// Docker 20.10 tells the gateway only once it has been restarted. The
	// interface has it as its address.
	own := local
	if bridge, err := net.InterfaceByName(found.Network.Options[bridgeName]); err == nil {
		if own, err = addresses(bridge.Addrs()); err != nil {
			return netip.Addr{}, fmt.Errorf("addresses of %s: %w", bridge.Name, err)
		}
	}
	for _, pool := range pools {
		for _, addr := range own {
			if !pool.Gateway.IsValid() && pool.Subnet.IsValid() && pool.Subnet.Contains(addr) {
				return addr, nil
			}
		}
	}
	return netip.Addr{}, nil
}

func addresses(found []net.Addr, err error) ([]netip.Addr, error) {
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for _, addr := range found {
		if prefix, err := netip.ParsePrefix(addr.String()); err == nil {
			addrs = append(addrs, prefix.Addr())
		}
	}
	return addrs, nil
}
