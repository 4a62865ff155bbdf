package configdiff

import (
	"context"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/config/peers"
)

// caller is the name under which secrets are compared.
const caller = "poco"

// Secrets is what is known of each secret, by variable.
type Secrets map[string]Agreement

// Of returns what is known of one.
func (s Secrets) Of(env string) Agreement { return s[env] }

// WithService compares settings with those of a running service, without either
// showing a value. Strangers can compare so only what services have to share.
func WithService(ctx context.Context, client peers.Client, service string, settings []config.Shared) (Secrets, error) {
	report, err := peers.Compare(ctx, client, caller, service, settings)
	if err != nil {
		return nil, err
	}
	known := Secrets{}
	for _, check := range report.GetChecks() {
		switch check.GetResult() {
		case configv1.PeerResult_PEER_RESULT_EQUAL:
			known[check.GetEnv()] = Equal
		case configv1.PeerResult_PEER_RESULT_DIFFERENT:
			known[check.GetEnv()] = Different
		default:
		}
	}
	return known, nil
}

// Between concludes from a comparison of two sides with the same third: what
// equals one of them and not the other is different.
func Between(left, right Secrets) Secrets {
	known := Secrets{}
	for env, l := range left {
		switch r := right[env]; {
		case l == Equal && r == Equal:
			known[env] = Equal
		case l == Equal && r == Different, l == Different && r == Equal:
			known[env] = Different
		}
	}
	return known
}
