package store_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/db/dbgen"
	"github.com/poco-ai/poco/db/dbtest"
	"github.com/poco-ai/poco/services/backend/internal/hint"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/internal/testkit"
)

// published counts what transactions told.
type published struct{ times int }

func (p *published) Publish(hint.Set) { p.times++ }

// What is only written waits for the next statement that is asked something, and
// for the commit; what it meets is the transaction's error.
func TestWritesInAPipeline(t *testing.T) {
	// One connection: what does not give it back hangs.
	cfg, err := pgxpool.ParseConfig(dbtest.URL(t, testkit.Postgres(t)))
	require.NoError(t, err)
	cfg.MaxConns = 1
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	var told published
	s := store.New(pool, &told)
	insert := func(ctx context.Context, q *dbgen.Queries, id string) error {
		return q.SessionInsert(ctx, dbgen.SessionInsertParams{ID: id, UserID: "default", CreatedAt: store.Now()})
	}
	stored := func(id string) bool {
		_, err := s.Read().SessionGetOwned(t.Context(), id, "default")
		require.True(t, err == nil || store.IsNotFound(err), "%v", err)
		return err == nil
	}

	first, second := uuid.NewString(), uuid.NewString()
	require.NoError(t, s.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		require.NoError(t, insert(ctx, tx.Later, first))
		_, err := tx.LockSession(ctx, first)
		require.NoError(t, err, "a statement sees what was written before it")
		return insert(ctx, tx.Later, second)
	}))
	require.True(t, stored(first) && stored(second))
	require.Equal(t, 1, told.times)

	third := uuid.NewString()
	require.ErrorContains(t, s.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		require.NoError(t, insert(ctx, tx.Later, third))
		return insert(ctx, tx.Later, first)
	}), "sessions_pkey")
	require.ErrorContains(t, s.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		require.NoError(t, insert(ctx, tx.Later, third))
		require.NoError(t, insert(ctx, tx.Later, first))
		_, err := tx.LockSession(ctx, third)
		return err
	}), "sessions_pkey")
	refused := errors.New("refused")
	require.ErrorIs(t, s.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		require.NoError(t, insert(ctx, tx.Q, third))
		return refused
	}), refused)
	require.ErrorContains(t, s.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		require.Error(t, insert(ctx, tx.Q, first))
		return insert(ctx, tx.Later, third) // an error that was passed over
	}), "aborted")
	require.False(t, stored(third))
	require.Equal(t, 1, told.times)
}
