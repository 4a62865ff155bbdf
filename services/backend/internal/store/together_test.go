package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/poco-ai/poco/db/dbtype"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/backend/internal/backendtest"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// Changes that share a transaction come out as each would alone: what is refused,
// fails or panics changes nothing, and nothing of the others.
func TestChangesTogether(t *testing.T) {
	const each = 20
	b := backendtest.New(t)
	refusal := rpcerror.FailedPrecondition(backendv1.ErrorReason_ERROR_REASON_RUN_FINISHED, "no", nil)
	set := func(_ context.Context, _ *store.Session, r *store.Run) error {
		r.Progress = 50
		return nil
	}
	kinds := map[string]struct {
		after func(ctx context.Context, s *store.Session) error
		check func(t *testing.T, err error)
		saved bool
	}{
		"good":    {func(context.Context, *store.Session) error { return nil }, func(t *testing.T, err error) { require.NoError(t, err) }, true},
		"refused": {func(context.Context, *store.Session) error { return refusal }, func(t *testing.T, err error) { require.ErrorIs(t, err, refusal) }, false},
		"failing": {func(ctx context.Context, s *store.Session) error {
			return s.Tx().Q.SessionContentInsert(ctx, s.ID, nil)
		}, func(t *testing.T, err error) { require.ErrorContains(t, err, "session_contents") }, false},
		"failing at the commit": {func(ctx context.Context, s *store.Session) error {
			s.Status = dbtype.SessionStatus("none")
			return nil
		}, func(t *testing.T, err error) { require.ErrorContains(t, err, "sessions_status_check") }, false},
		"panicking": {func(context.Context, *store.Session) error { panic("at the disco") }, func(t *testing.T, err error) { require.ErrorContains(t, err, "disco") }, false},
	}
	var g errgroup.Group
	type outcome struct {
		kind, run string
		err       error
	}
	outcomes := make(chan outcome, each*len(kinds))
	for kind, k := range kinds {
		for range each {
			run := b.Enqueue(t, "", "x").GetRunId()
			g.Go(func() (failed error) {
				defer func() {
					if p := recover(); p != nil {
						outcomes <- outcome{kind, run, fmt.Errorf("%v", p)}
					}
				}()
				err := b.Store.ChangeRun(t.Context(), run, func(ctx context.Context, s *store.Session, r *store.Run) error {
					return errors.Join(set(ctx, s, r), k.after(ctx, s))
				})
				outcomes <- outcome{kind, run, err}
				return nil
			})
		}
	}
	require.NoError(t, g.Wait())
	close(outcomes)
	for o := range outcomes {
		k := kinds[o.kind]
		k.check(t, o.err)
		require.Equal(t, k.saved, b.Run(t, o.run).GetProgress() == 50, "%s: %s", o.kind, o.run)
	}
}

// Two changes of one run, and of two runs of one session, see each other.
func TestChangesOfOneSessionTogether(t *testing.T) {
	const times = 20
	b := backendtest.New(t)
	first := b.Enqueue(t, "", "x")
	second := b.Enqueue(t, first.GetSessionId(), "y")
	var g errgroup.Group
	for range times {
		for _, run := range []string{first.GetRunId(), second.GetRunId()} {
			g.Go(func() error {
				return b.Store.ChangeRun(t.Context(), run, func(_ context.Context, s *store.Session, r *store.Run) error {
					r.Progress++
					return s.Emit(r.ID, &backendv1.EventPayload{Kind: &backendv1.EventPayload_Notice{Notice: &backendv1.Notice{Text: "n"}}})
				})
			})
		}
	}
	require.NoError(t, g.Wait())
	require.EqualValues(t, times, b.Run(t, first.GetRunId()).GetProgress())
	require.EqualValues(t, times, b.Run(t, second.GetRunId()).GetProgress())
}

// Who waits for somebody's lock holds up nobody else, and may give up.
func TestChangesBesideALockedSession(t *testing.T) {
	b := backendtest.New(t)
	locked, free := b.Enqueue(t, "", "x"), b.Enqueue(t, "", "y")
	tx, err := b.Pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `SELECT FROM sessions WHERE id = $1 FOR UPDATE`, locked.GetSessionId())
	require.NoError(t, err)
	set := func(_ context.Context, _ *store.Session, r *store.Run) error {
		r.Progress = 50
		return nil
	}
	ctx, giveUp := context.WithCancel(t.Context())
	var g errgroup.Group
	for range 2 { // as many as there are groups
		g.Go(func() error {
			require.ErrorIs(t, b.Store.ChangeRun(ctx, locked.GetRunId(), set), context.Canceled)
			return nil
		})
	}
	for range 10 {
		require.NoError(t, b.Store.ChangeRun(t.Context(), free.GetRunId(), set))
	}
	giveUp()
	require.NoError(t, g.Wait())
	require.NoError(t, tx.Rollback(t.Context()))
	require.NoError(t, b.Store.ChangeRun(t.Context(), locked.GetRunId(), set))
}
