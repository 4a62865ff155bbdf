package configdiff

import (
	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
)

// Secrets is what is known of each secret, by variable.
type Secrets map[string]Agreement

// Of returns what is known of one.
func (s Secrets) Of(env string) Agreement { return s[env] }

// Reported are the secrets of a report.
func Reported(report *configv1.PeerReport) Secrets {
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
	return known
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
