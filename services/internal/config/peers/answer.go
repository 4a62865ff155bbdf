package peers

import (
	"fmt"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/rpcerror"
	"github.com/poco-ai/poco/services/internal/version"
)

// Answer is the peer's side of a comparison: what the named service, which has
// these settings, answers to a caller that may compare them.
func Answer(service string, settings []config.Shared, req *configv1.ComparePeerRequest) (*configv1.ComparePeerResponse, error) {
	byEnv := make(map[string]config.Shared, len(settings))
	for _, s := range settings {
		byEnv[s.Env] = s
	}
	about := answering(req.GetService(), service, req.GetNonce())
	resp := &configv1.ComparePeerResponse{Service: service, Version: version.String(), Nonce: about.peerNonce}
	seen := make(map[string]bool, len(req.GetComparisons()))
	for i, c := range req.GetComparisons() {
		env := c.GetEnv()
		if seen[env] {
			// It would be a second guess in one call.
			return nil, rpcerror.InvalidArgument(fmt.Sprintf("comparisons[%d].env", i), "must not be named twice")
		}
		seen[env] = true
		answer := &configv1.ComparisonAnswer{Env: env}
		resp.Answers = append(resp.Answers, answer)
		setting, ok := byEnv[env]
		if !ok {
			answer.State = configv1.ComparisonState_COMPARISON_STATE_NOT_SHARED
			continue
		}
		switch {
		case !setting.Value.IsSet():
			answer.State = configv1.ComparisonState_COMPARISON_STATE_UNSET
		case isTooShort(setting):
			answer.State = configv1.ComparisonState_COMPARISON_STATE_TOO_SHORT
		case !about.proves(c.GetProof(), byCaller, setting):
			answer.State = configv1.ComparisonState_COMPARISON_STATE_DIFFERENT
		default:
			answer.State, answer.Proof = configv1.ComparisonState_COMPARISON_STATE_EQUAL, about.proof(byPeer, setting)
		}
	}
	return resp, nil
}
