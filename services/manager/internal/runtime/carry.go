package runtime

import "context"

// CarryThrough is what Stop promises: background runs work, which is carried
// through even when ctx ends before it; then the error is ctx's own. background
// returns false when the Runtime is closed.
func CarryThrough(ctx context.Context, background func(work func()) bool, work func() error) error {
	result := make(chan error, 1)
	if !background(func() { result <- work() }) {
		return ErrClosed
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// AwaitEnd is what Watch waits for: nil when the executor has ended, also when
// ctx or the Runtime has; else ctx's own error, or ErrClosed.
func AwaitEnd(ctx context.Context, ended, closed <-chan struct{}) error {
	select {
	case <-ended:
		return nil
	default:
	}
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-closed:
		return ErrClosed
	}
}
