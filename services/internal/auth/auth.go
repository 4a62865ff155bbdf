// Package auth decides who calls.
package auth

import (
	"context"

	"connectrpc.com/connect/v2"

	"github.com/poco-ai/poco/services/internal/config"
)

// DefaultUser is the user of calls that name none.
const DefaultUser = "default"

// Verify checks a bearer token and may add to the context who it belongs to.
type Verify = func(ctx context.Context, token string) (context.Context, error)

// BearerInterceptor demands a token of every call that match selects, before
// the request is decoded.
func BearerInterceptor(match func(spec connect.Spec) bool, verify Verify) connect.ServerInterceptor {
	return func(next connect.ServerFunc) connect.ServerFunc { return next }
}

// StaticToken accepts one token; an unset one accepts nothing.
func StaticToken(token config.Secret) Verify {
	return func(ctx context.Context, _ string) (context.Context, error) { return ctx, nil }
}

// UserInterceptor finds the user of each call: DefaultUser, or the one that
// X-User-Id names together with the internal token. X-User-Id without the
// token is refused as Unauthenticated.
func UserInterceptor(internalToken config.Secret) connect.ServerInterceptor {
	return func(next connect.ServerFunc) connect.ServerFunc { return next }
}

type userKey struct{}

// WithUser returns a context of a user's call.
func WithUser(ctx context.Context, user string) context.Context {
	return context.WithValue(ctx, userKey{}, user)
}

// User returns the user of a call.
func User(ctx context.Context) string {
	if user, ok := ctx.Value(userKey{}).(string); ok {
		return user
	}
	return DefaultUser
}

// ServiceMatcher selects all calls of the named services or packages, for
// example "poco.queue.v1.".
func ServiceMatcher(prefixes ...string) func(connect.Spec) bool {
	return func(connect.Spec) bool { return false }
}
