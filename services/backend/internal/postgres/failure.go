// Package postgres knows what Postgres, and what may stand before it, does when
// it cannot be worked with.
package postgres

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/jackc/pgx/v5/pgconn"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

const (
	// callTimeout bounds a unary call that its caller does not bound: it must not
	// wait for ever for a connection, or for a database that hangs.
	callTimeout = 30 * time.Second
	// retryAfter is when a call that found no database may be made again.
	retryAfter = time.Second
)

// unavailable are the states, or classes of states, in which Postgres cannot
// work, whatever it is asked. https://www.postgresql.org/docs/current/errcodes-appendix.html
var unavailable = []string{
	"08",             // connection exceptions; what PgBouncer says when it has no server
	"25006",          // a server that only takes reads
	"26000",          // a prepared statement that a pooler has lost
	"42P05",          // or has twice
	"28",             // a password, or a right to connect, that was taken away
	"3D000",          // no such database (any more)
	"40001",          // another transaction got in the way, again and again
	"40P01",          // likewise
	"53",             // no disk, no memory, no connections
	"55P03",          // a lock that was not to be had
	"57P",            // shutting down, starting, dropped
	"57014",          // a statement took longer than the server allows
	"58",             // errors of the system below
	"XX001", "XX002", // corrupted data or index
}

// passing are those that waiting may end when a connection is refused.
var passing = []string{"08", "53", "57P", "58"}

// Unavailable tells whether an error says that the database cannot be worked
// with now: it is away, refuses connections, or cannot do anything.
func Unavailable(err error) bool {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return hasPrefix(refused.Code, unavailable)
	}
	var connecting *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connecting) || pgconn.SafeToRetry(err) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.As(err, &network) && !errors.Is(err, context.DeadlineExceeded)
}

// MayPass tells whether an error of connecting may go away by itself, unlike a
// wrong password.
func MayPass(err error) bool {
	var refused *pgconn.PgError
	return !errors.As(err, &refused) || hasPrefix(refused.Code, passing)
}

func hasPrefix(code string, prefixes []string) bool {
	for _, prefix := range prefixes {
		if strings.HasPrefix(code, prefix) {
			return true
		}
	}
	return false
}

// Interceptor answers Unavailable, with when to try again, to calls that the
// database could not serve, and tells failed about each. Calls that bring no
// deadline get one.
func Interceptor(failed func()) connect.ServerInterceptor {
	return func(next connect.ServerFunc) connect.ServerFunc {
		return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
			bounded := ctx
			if spec.StreamType == connect.StreamTypeUnary {
				var cancel context.CancelFunc
				bounded, cancel = context.WithTimeout(ctx, callTimeout)
				defer cancel()
			}
			err := next(bounded, spec, stream)
			if err == nil || ctx.Err() != nil { // The caller has gone: nobody's fault.
				return err
			}
			if _, transport := errors.AsType[*connect.Error](err); transport {
				return err
			}
			if bounded.Err() == nil && !Unavailable(err) {
				return err
			}
			failed()
			if _, told := errors.AsType[*rpcerror.Error](err); told {
				return err
			}
			return rpcerror.Unavailable(backendv1.ErrorReason_ERROR_REASON_DATABASE_UNAVAILABLE, "the database cannot serve the call now; try again").RetryAfter(retryAfter).WithCause(err)
		}
	}
}
