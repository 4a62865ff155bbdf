// Package peers finds out whether two services have the same values, secret
// ones included, without either telling the other.
//
// Each value is the password of a key exchange of its own (CPace): the asking
// service sends a share, the peer answers with its share and with a proof that
// it came to the same key, which it does when the values are equal.
//
// What others learn:
//
//   - Who listens learns nothing. A share is a power, with a secret exponent, of
//     a generator made from the value: in a group of prime order it is as likely
//     for one value as for any other, and to recompute the key behind a proof
//     from a guessed value is the Diffie-Hellman problem.
//   - Who asks without knowing the value learns for one guess whether it is
//     right. The exponents of a share with respect to the generators of two
//     guesses cannot both be known, so each guess needs a call of its own, in
//     which the peer takes part with a new exponent: there is nothing to try
//     offline. How often strangers may call, package configservice limits.
//   - Values that can be guessed in a few calls are protected by nothing. So a
//     secret of fewer than minSecretLength characters is never compared, and
//     that of a choice, such as APP_ENV, is not secret.
//
// A message is good for one session, one variable, one pair of services and one
// direction: all of them go into the generator.
package peers

import (
	"context"
	"slices"
	"unicode/utf8"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/redact"
)

// minSecretLength is the least characters of a secret that is compared. A
// random one of this length has at least 64 bits: at the rate that
// configservice allows to strangers, guessing takes longer than the secret is
// in use by any measure.
const minSecretLength = 16

// Client asks a peer; configv1connect.ConfigServiceClient is one.
type Client interface {
	ComparePeer(ctx context.Context, req *configv1.ComparePeerRequest) (*configv1.ComparePeerResponse, error)
}

// isTooShort tells whether a value is a secret that could be guessed, or a URL
// with such a password.
func isTooShort(s config.Shared, value string) bool {
	if !s.Secret {
		return false
	}
	return slices.ContainsFunc(append(redact.Passwords(value), value), func(text string) bool {
		return utf8.RuneCountInString(text) < minSecretLength
	})
}
