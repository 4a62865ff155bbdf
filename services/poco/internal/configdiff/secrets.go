package configdiff

import configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"

// Secrets is what is known of each secret, by variable.
type Secrets map[string]configv1.PeerResult

// Of returns what is known of one.
func (s Secrets) Of(env string) configv1.PeerResult { return s[env] }

// Reported are the secrets of a report.
func Reported(report *configv1.PeerReport) Secrets {
	known := Secrets{}
	for _, check := range report.GetChecks() {
		known[check.GetEnv()] = check.GetResult()
	}
	return known
}

// Between concludes from a comparison of two sides with the same third: what
// equals one of them and not the other is different.
func Between(left, right Secrets) Secrets {
	known := Secrets{}
	for env, l := range left {
		switch r := right[env]; {
		case l == equal && r == equal:
			known[env] = equal
		case l == equal && r == different, l == different && r == equal:
			known[env] = different
		}
	}
	return known
}
