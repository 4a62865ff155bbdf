package queue_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/backend/internal/backendtest"
)

// TestLockOrder lets what locks several sessions or runs at once meet what
// locks one of them. No call may fail, and none may be tried again because of a
// deadlock, which the pool of the test reports.
func TestLockOrder(t *testing.T) {
	b := backendtest.New(t)
	const sessions, rounds = 20, 20
	ids := make([]string, sessions)
	for i := range ids {
		ids[i] = b.Start(t, "w1").GetRun().GetSessionId()
	}
	renew := func(ctx context.Context, _ int) error {
		held, err := b.Queue.Adopt(ctx, "w1", backendtest.Lease)
		if err != nil {
			return err
		}
		leases := make([]*queuev1.Lease, len(held))
		for i, c := range held {
			leases[i] = &queuev1.Lease{RunId: c.GetRun().GetId(), FencingToken: c.GetFencingToken()}
		}
		_, err = b.Queue.Renew(ctx, "w1", leases, backendtest.Lease)
		return err
	}
	var g errgroup.Group
	for _, do := range []func(ctx context.Context, round int) error{
		renew, renew, renew,
		func(ctx context.Context, round int) error {
			_, err := b.Tasks.EnqueueTask(ctx, &backendv1.EnqueueTaskRequest{Prompt: "more", SessionId: ids[round]})
			return err
		},
		func(ctx context.Context, round int) error {
			_, err := b.Sessions.CancelSession(ctx, &backendv1.CancelSessionRequest{SessionId: ids[round]})
			return err
		},
		func(ctx context.Context, _ int) error { return b.Queue.ExpireLeases(ctx) },
	} {
		g.Go(func() error {
			for round := range rounds {
				if err := do(t.Context(), round); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
}
