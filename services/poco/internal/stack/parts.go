package stack

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/poco-ai/poco/services/internal/lifecycle"
)

// parts are the running services and servers. When one of them ends unasked,
// everything is to end.
type parts struct {
	mu     sync.Mutex
	ctx    context.Context //nolint:containedctx // the life of the whole stack
	cancel context.CancelCauseFunc
	outer  context.Context //nolint:containedctx // what the caller wants
}

// newParts returns parts and the context that ends with ctx or with the first
// part that fails.
func newParts(ctx context.Context) (*parts, context.Context, context.CancelFunc) {
	inner, cancel := context.WithCancelCause(ctx)
	return &parts{ctx: inner, cancel: cancel, outer: ctx}, inner, func() { cancel(nil) }
}

// cause is why the stack ends: the first failure of a part, nil when the caller
// wanted it, else err.
func (p *parts) cause(err error) error {
	switch {
	case p.outer.Err() != nil:
		return nil //nolint:nilerr // an end that was asked for is no error
	case p.ctx.Err() != nil:
		return context.Cause(p.ctx)
	default:
		return err
	}
}

// untold is err, unless it is the failure for which everything ends.
func (p *parts) untold(err error) error {
	if p.ctx.Err() != nil && context.Cause(p.ctx) == err { //nolint:errorlint // the very same one
		return nil
	}
	return err
}

// set completes the layer from several starts at the same time.
func (p *parts) set(l layer, env, value string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l[env] = value
}

// watch ends everything when a server does.
func (p *parts) watch(name string, done <-chan struct{}) {
	go func() {
		select {
		case <-done:
			p.cancel(fmt.Errorf("%s ended", name))
		case <-p.ctx.Done():
		}
	}()
}

// start runs a service and returns once it is ready. It goes on when ctx ends,
// until the closers stop it in its turn.
func (p *parts) start(ctx context.Context, closers *lifecycle.Closers, name string, run func(context.Context, func(string)) error) error {
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	ready := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		err := run(running, func(string) { close(ready) })
		if running.Err() == nil {
			if err == nil {
				err = fmt.Errorf("the %s ended", name)
			} else {
				err = fmt.Errorf("the %s failed: %w", name, err)
			}
			p.cancel(err)
		} else if errors.Is(err, running.Err()) { // it was stopped while it started
			err = nil
		}
		done <- err
	}()
	closers.Add(name, func(ctx context.Context) error {
		stop()
		select {
		case err := <-done:
			return p.untold(err)
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
