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

// Endings returns the signals that ask this program to end: of a service manager,
// of Ctrl-C, of a terminal that closes. What it was started to ignore is not among
// them: SIGHUP by nohup, SIGINT by a shell that puts it into the background.
func Endings() []os.Signal {
	endings := []os.Signal{syscall.SIGTERM}
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGHUP} {
		if !signal.Ignored(sig) {
			endings = append(endings, sig)
		}
	}
	return endings
}

// SignalContext returns a context that ends at the first of Endings. Another
// SIGINT or SIGTERM then ends the process, as it would have without this. Another
// SIGHUP does not: where a terminal closes, its shell and the system send one
// each. Nor does it matter to a stop that nobody reads any more what is said.
func SignalContext(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := context.WithCancel(parent)
	received := make(chan os.Signal, 1)
	signal.Notify(received, Endings()...)
	go func() {
		select {
		case <-received:
		case <-ctx.Done():
		}
		unheard := make(chan os.Signal, 1)
		signal.Notify(unheard, syscall.SIGPIPE)
		if !signal.Ignored(syscall.SIGHUP) {
			signal.Notify(unheard, syscall.SIGHUP)
		}
		signal.Stop(received)
		stop()
	}()
	return ctx, stop
}
