// Package peers finds out whether two services have the same values, secret
// ones included, without either telling the other.
//
// Who has no token that the peer accepts is refused, which is what there is to
// find out then. Others compare each value by proofs, keyed hashes under the
// value over what both sides have made up for this comparison. The caller proves
// first and so learns of a value that it does not have only that its guess was
// wrong; each guess is a call of its own, and their rate is limited by package
// configservice. Who answers under the peer's URL without having the value could
// try guesses at the caller's proof: a secret of fewer than minSecretLength
// characters is never compared.
package peers

import (
	"context"
	"slices"
	"unicode/utf8"

	"connectrpc.com/connect/v2"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/redact"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// minSecretLength is the least characters of a secret that is compared. A
// random one of this length has at least 64 bits.
const minSecretLength = 16

// Client asks a peer; configv1connect.ConfigServiceClient is one.
type Client interface {
	ComparePeer(ctx context.Context, req *configv1.ComparePeerRequest) (*configv1.ComparePeerResponse, error)
}

// WithToken makes a call with each token that is set, in turn, and at last with
// none, until it is not refused: a service in development answers callers of its
// own machine that show no token, and one of another deployment must not be in
// the way.
func WithToken[R any](ctx context.Context, tokens []config.Secret, call func(context.Context) (R, error)) (R, error) {
	for _, token := range tokens {
		if !token.IsSet() {
			continue
		}
		ctx, info := connect.NewClientContext(ctx)
		info.RequestHeader().Set("Authorization", "Bearer "+token.Reveal())
		if resp, err := call(ctx); rpcerror.CodeOf(err) != connect.CodeUnauthenticated {
			return resp, err
		}
	}
	return call(ctx)
}

// isTooShort tells whether a value is a secret that could be guessed, or a URL
// with such a password.
func isTooShort(s config.Shared) bool {
	value := s.Value.Reveal()
	return s.IsSecret && slices.ContainsFunc(append(redact.Passwords(value), value), func(text string) bool {
		return utf8.RuneCountInString(text) < minSecretLength
	})
}
