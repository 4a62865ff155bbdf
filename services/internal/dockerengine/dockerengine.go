// Package dockerengine finds out whether the Docker engine of this machine can
// run executors, and where containers find this machine.
package dockerengine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
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
	return engine, nil
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

// BridgeAddress returns the address of this machine on which a service must
// listen so that containers reach it as GatewayHost. It is not valid when
// loopback is enough: the engine is in a virtual machine (Docker Desktop) that
// forwards to it.
func BridgeAddress(ctx context.Context, engine *client.Client) (netip.Addr, error) {
	found, err := engine.NetworkInspect(ctx, bridgeNetwork, client.NetworkInspectOptions{})
	if err != nil {
		return netip.Addr{}, Explain(err)
	}
	local, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("addresses of this machine: %w", err)
	}
	for _, pool := range found.Network.IPAM.Config {
		for _, addr := range local {
			prefix, err := netip.ParsePrefix(addr.String())
			if err == nil && pool.Gateway.IsValid() && prefix.Addr() == pool.Gateway {
				return pool.Gateway, nil
			}
		}
	}
	return netip.Addr{}, nil
}
