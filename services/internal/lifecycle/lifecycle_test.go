package lifecycle_test

import (
	"context"
	"errors"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/poco-ai/poco/services/internal/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCloseInReverseOrder(t *testing.T) {
	var closers lifecycle.Closers
	var order []string
	broken := errors.New("broken")
	for _, name := range []string{"first", "second", "third"} {
		closers.Add(name, func(context.Context) error {
			order = append(order, name)
			if name == "second" {
				return broken
			}
			return nil
		})
	}
	err := closers.Close(t.Context())
	require.ErrorIs(t, err, broken)
	require.EqualError(t, err, "close second: broken")
	require.Equal(t, []string{"third", "second", "first"}, order)
	require.NoError(t, closers.Close(t.Context()), "the second call does nothing")
}

func TestOneThatHangsIsLeftBehind(t *testing.T) {
	var closers lifecycle.Closers
	release, closed := make(chan struct{}), false
	closers.Add("first", func(ctx context.Context) error {
		closed = ctx.Err() != nil // knows that it has no time
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	closers.Add("stuck", func(context.Context) error {
		cancel()
		<-release
		return nil
	})
	err := closers.Close(ctx)
	close(release)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "close stuck")
	require.True(t, closed)
}

func TestSignalContext(t *testing.T) {
	ctx, stop := lifecycle.SignalContext(t.Context())
	defer stop()
	require.NoError(t, syscall.Kill(syscall.Getpid(), syscall.SIGTERM))
	<-ctx.Done()
}

func TestVital(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	broken := errors.New("broken")
	require.EqualError(t, lifecycle.Vital(ctx, "the clock", func(context.Context) error { return nil }), "the clock ended by itself")
	require.ErrorIs(t, lifecycle.Vital(ctx, "the clock", func(context.Context) error { return broken }), broken)
	cancel()
	require.NoError(t, lifecycle.Vital(ctx, "the clock", func(ctx context.Context) error { return ctx.Err() }))
	require.ErrorIs(t, lifecycle.Vital(ctx, "the clock", func(context.Context) error { return broken }), broken, "it could not stop")
}
