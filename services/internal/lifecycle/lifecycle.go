// Package lifecycle starts and stops a program's parts in order.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// lateGrace is what a part gets to stop hard once the deadline has passed.
const lateGrace = 500 * time.Millisecond

// Closers are what has to be closed, in the reverse order of being added.
type Closers struct {
	mu   sync.Mutex
	list []closer
}

type closer struct {
	name  string
	close func(context.Context) error
}

// Add registers a part by name; close has to respect its context's deadline.
func (c *Closers) Add(name string, close func(context.Context) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, closer{name, close})
}

// Close closes everything, the last added first, under the one deadline of ctx.
// A part that does not return in time is left behind and reported, so that the
// others still get their turn. A second call does nothing.
func (c *Closers) Close(ctx context.Context) error {
	c.mu.Lock()
	list := c.list
	c.list = nil
	c.mu.Unlock()
	var errs []error
	for i := len(list) - 1; i >= 0; i-- {
		if err := runCloser(ctx, list[i]); err != nil {
			errs = append(errs, fmt.Errorf("close %s: %w", list[i].name, err))
		}
	}
	return errors.Join(errs...)
}

func runCloser(ctx context.Context, c closer) error {
	done := make(chan error, 1)
	go func() { done <- c.close(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	timer := time.NewTimer(lateGrace)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return ctx.Err()
	}
}

// Vital runs a part that a program cannot live without, until ctx is done. When
// the part ends before, that is an error that names it, whatever it returned.
func Vital(ctx context.Context, name string, run func(context.Context) error) error {
	err := run(ctx)
	switch {
	case ctx.Err() != nil && (err == nil || errors.Is(err, ctx.Err())):
		return nil
	case err == nil:
		return fmt.Errorf("%s ended by itself", name)
	default:
		return fmt.Errorf("%s failed: %w", name, err)
	}
}

// SignalContext returns a context that ends at the first SIGINT or SIGTERM. The
// second one ends the process, as it would have without this.
func SignalContext(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}
