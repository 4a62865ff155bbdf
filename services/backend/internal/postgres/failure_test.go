package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/backend/internal/postgres"
	"github.com/poco-ai/poco/services/internal/testkit"
)

func TestUnavailable(t *testing.T) {
	_, refused := pgx.Connect(t.Context(), fmt.Sprintf("postgres://u@127.0.0.1:%d/d", testkit.FreePort(t)))
	_, unknown := pgx.Connect(t.Context(), "postgres://u@no-such-host.invalid/d")
	for name, err := range map[string]error{
		"nobody listens": refused, "no such host": unknown, "cut off": io.ErrUnexpectedEOF, "closed": net.ErrClosed,
	} {
		require.True(t, postgres.Unavailable(fmt.Errorf("read: %w", err)), name)
	}
	for _, code := range []string{"53300", "53100", "53200", "57P01", "57P02", "57P03", "57P04", "08P01", "08006", "25006", "58030", "28P01", "3D000", "26000", "57014"} {
		require.True(t, postgres.Unavailable(fmt.Errorf("read: %w", &pgconn.PgError{Code: code})), code)
	}
	for _, code := range []string{"23505", "22P02", "42601", "42P01", "XX000"} {
		require.False(t, postgres.Unavailable(&pgconn.PgError{Code: code}), code)
	}
	for _, err := range []error{pgx.ErrNoRows, context.Canceled, context.DeadlineExceeded, errors.New("decode")} {
		require.False(t, postgres.Unavailable(err), "%v", err)
	}
	require.True(t, postgres.MayPass(&pgconn.PgError{Code: "53300"}))
	require.False(t, postgres.MayPass(&pgconn.PgError{Code: "28P01"}))
}
