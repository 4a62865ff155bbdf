// Package auth decides who calls.
package auth

import (
	"context"
	"strings"
	"sync/atomic"
	"unicode"
	"unicode/utf8"

	"connectrpc.com/connect/v2"

	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

const (
	// DefaultUser is the user of calls that name none.
	DefaultUser = "default"
	// UserHeader names the user; it is believed only with the internal token.
	UserHeader = "X-User-Id"
	// maxUserIDLength bounds a user id, in characters.
	maxUserIDLength = 200
)

// Verify checks a bearer token and may add to the context who it belongs to.
type Verify = func(ctx context.Context, token string) (context.Context, error)

// BearerInterceptor demands a token of every call that match selects, before
// the request is decoded.
func BearerInterceptor(match func(spec connect.Spec) bool, verify Verify) connect.ServerInterceptor {
	return func(next connect.ServerFunc) connect.ServerFunc {
		return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
			if !match(spec) {
				return next(ctx, spec, stream)
			}
			token := BearerToken(requestHeader(ctx, "Authorization"))
			if token == "" {
				return rpcerror.Unauthenticated("a token is required: Authorization: Bearer TOKEN")
			}
			ctx, err := verify(ctx, token)
			if err != nil {
				return err
			}
			return next(ctx, spec, stream)
		}
	}
}

// StaticToken accepts one token; an unset one accepts nothing.
func StaticToken(token config.Secret) Verify {
	return func(ctx context.Context, candidate string) (context.Context, error) {
		if !token.Equal(candidate) {
			return nil, rpcerror.Unauthenticated("the token is wrong")
		}
		return ctx, nil
	}
}

// ClientInterceptor demands the client's token, or the internal one, of every
// call but those that open selects; where a service has never had a token for
// clients, of none. One that is taken away while the service runs opens nothing:
// anyone who writes a file anew empties it for a moment.
func ClientInterceptor(client, internal config.Secret, open func(spec connect.Spec) bool) connect.ServerInterceptor {
	wanted := EverSet(client)
	guarded := func(spec connect.Spec) bool { return !open(spec) && wanted() }
	return BearerInterceptor(guarded, func(ctx context.Context, candidate string) (context.Context, error) {
		if !client.Equal(candidate) && !internal.Equal(candidate) {
			return nil, rpcerror.Unauthenticated("the token is wrong")
		}
		return ctx, nil
	})
}

// EverSet tells, at each call, whether a secret has had a value since EverSet was
// called, at one of its calls.
func EverSet(secret config.Secret) func() bool {
	var ever atomic.Bool
	ever.Store(secret.IsSet())
	return func() bool {
		if !ever.Load() && secret.IsSet() {
			ever.Store(true)
		}
		return ever.Load()
	}
}

// UserInterceptor finds the user of each call: DefaultUser, or the one that
// X-User-Id names together with the internal token. X-User-Id without the
// token is refused as Unauthenticated.
func UserInterceptor(internalToken config.Secret) connect.ServerInterceptor {
	return func(next connect.ServerFunc) connect.ServerFunc {
		return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
			user, err := UserOf(requestHeader(ctx, UserHeader), requestHeader(ctx, "Authorization"), internalToken)
			if err != nil {
				return err
			}
			return next(WithUser(ctx, user), spec, stream)
		}
	}
}

// UserOf applies the rule of UserInterceptor to the two headers of a request;
// plain HTTP handlers use it too.
func UserOf(userHeader, authorization string, internalToken config.Secret) (string, error) {
	user := strings.TrimSpace(userHeader)
	if user == "" {
		return DefaultUser, nil
	}
	if !internalToken.Equal(BearerToken(authorization)) {
		return "", rpcerror.Unauthenticated(UserHeader + " is accepted only together with the internal token")
	}
	if !utf8.ValidString(user) || utf8.RuneCountInString(user) > maxUserIDLength || strings.ContainsFunc(user, unicode.IsControl) {
		return "", rpcerror.InvalidArgument(UserHeader, "must be at most 200 characters, without control characters")
	}
	return user, nil
}

// BearerToken returns the token of an Authorization header; empty when it has
// none. The scheme's case does not matter (RFC 9110, section 11.1).
func BearerToken(authorization string) string {
	scheme, token, ok := strings.Cut(strings.TrimSpace(authorization), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

func requestHeader(ctx context.Context, name string) string {
	info, ok := connect.CallInfoForServerContext(ctx)
	if !ok {
		return ""
	}
	return info.RequestHeader().Get(name)
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
// example "poco.queue.v1." or "poco.manager.v1.WorkspaceService/".
func ServiceMatcher(prefixes ...string) func(connect.Spec) bool {
	return func(spec connect.Spec) bool {
		name := strings.TrimPrefix(spec.Procedure, "/")
		for _, prefix := range prefixes {
			if strings.HasPrefix(name, prefix) {
				return true
			}
		}
		return false
	}
}
