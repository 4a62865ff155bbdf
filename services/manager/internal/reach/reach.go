// Package reach makes sure that executors reach their manager before a run
// depends on it.
package reach

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"

	"github.com/poco-ai/poco/services/manager/internal/runtime"
)

// Check finds out whether executors of a runtime reach this manager. Success is
// remembered; what failed is asked again by the next call.
type Check struct {
	// Runtime is where executors run.
	Runtime runtime.Runtime
	// URL is this manager as executors reach it (CALLBACK_BASE_URL).
	URL string
	// Instance is this process's name in the answer of /healthz.
	Instance string
	// Listening are the addresses that this manager listens on.
	Listening func() []net.Addr

	mu      sync.Mutex
	reached bool
}

// Reached asks from where executors run for this manager. The error wraps
// runtime.ErrUnreachable when they do not reach it, or reach somebody else, and
// says what was tried and what to do. Any other error means that it could not
// be found out.
func (c *Check) Reached(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reached {
		return nil
	}
	answer, err := c.Runtime.Fetch(ctx, c.URL+"/healthz")
	switch {
	case errors.Is(err, runtime.ErrUnreachable):
		return fmt.Errorf("this manager is %w; %s", err, c.remedy(err))
	case err != nil:
		return fmt.Errorf("find out whether executors reach this manager at %s: %w", c.URL, err)
	}
	var who struct{ Service, Instance string }
	if json.Unmarshal([]byte(answer), &who) != nil || who.Service == "" {
		return fmt.Errorf("%w: %s/healthz is answered by something that is not Poco: set CALLBACK_BASE_URL to a URL of this manager%s",
			runtime.ErrUnreachable, c.URL, c.listening())
	}
	if who.Instance != c.Instance {
		return fmt.Errorf("%w: %s/healthz is answered by another %s of Poco: set CALLBACK_BASE_URL to a URL of this one%s",
			runtime.ErrUnreachable, c.URL, who.Service, c.listening())
	}
	c.reached = true
	return nil
}

// remedy says what to do when nobody answered.
func (c *Check) remedy(err error) string {
	set := "set CALLBACK_BASE_URL to a URL at which they reach it, and EXECUTOR_MANAGER_HOST so that it listens there"
	if c.Runtime.Name() == "docker" {
		set += "; or set EXECUTOR_RUNTIME=process, which needs no container"
	}
	if strings.Contains(err.Error(), "connection refused") || strings.Contains(err.Error(), "no such host") {
		return set + c.listening()
	}
	return "a firewall may drop what comes from containers: let them reach the port (with ufw: ufw allow in on docker0); or " + set + c.listening()
}

func (c *Check) listening() string {
	var addrs []string
	for _, addr := range c.Listening() {
		addrs = append(addrs, addr.String())
	}
	return " (it listens on " + strings.Join(addrs, ", ") + ")"
}
