package peers

import (
	"fmt"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/rpcerror"
	"github.com/poco-ai/poco/services/internal/version"
)

// Answer is the peer's side of a comparison: what the named service, which has
// these settings, answers to a request.
func Answer(service string, settings []config.Shared, req *configv1.ComparePeerRequest) (*configv1.ComparePeerResponse, error) {
	byEnv := make(map[string]config.Shared, len(settings))
	for _, s := range settings {
		byEnv[s.Env] = s
	}
	resp := &configv1.ComparePeerResponse{Service: service, Version: version.String()}
	seen := make(map[string]bool, len(req.GetComparisons()))
	for i, c := range req.GetComparisons() {
		if seen[c.GetEnv()] {
			// It would be a second guess in one call.
			return nil, rpcerror.InvalidArgument(fmt.Sprintf("comparisons[%d].env", i), "must not be named twice")
		}
		seen[c.GetEnv()] = true
		answer := &configv1.ComparisonAnswer{Env: c.GetEnv()}
		resp.Answers = append(resp.Answers, answer)
		setting, ok := byEnv[c.GetEnv()]
		if !ok {
			answer.State = configv1.ComparisonState_COMPARISON_STATE_NOT_SHARED
			continue
		}
		value := setting.Value()
		switch {
		case value == "":
			answer.State = configv1.ComparisonState_COMPARISON_STATE_UNSET
			continue
		case isTooShort(setting, value):
			answer.State = configv1.ComparisonState_COMPARISON_STATE_TOO_SHORT
			continue
		}
		about := binding{session: req.GetSessionId(), initiator: req.GetService(), responder: service, env: c.GetEnv()}
		var err error
		if answer.Share, answer.Confirmation, err = respond(value, about, c.GetShare()); err != nil {
			return nil, rpcerror.InvalidArgument(fmt.Sprintf("comparisons[%d].share", i), "must be an element of ristretto255 other than the identity")
		}
		answer.State = configv1.ComparisonState_COMPARISON_STATE_COMPARED
	}
	return resp, nil
}
