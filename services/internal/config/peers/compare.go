package peers

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/version"
)

// Errors of Compare besides those of the call.
var (
	// ErrOtherService means that another service answered than the one that was
	// to be asked.
	ErrOtherService = errors.New("another service answers there")
	// ErrAnswer means that the answer does not fit the question.
	ErrAnswer = errors.New("the answer does not fit the question")
)

// Compare asks the service named peer, with the client and by one of the tokens,
// which of the settings of the service named self it has the same values for. The
// report has one check for each setting that both have, in the order given, and
// one for the versions; its Env is left to the caller. The error is the call's,
// ErrOtherService or ErrAnswer; IsRefused and Explain say what it means.
func Compare(ctx context.Context, client Client, self, peer string, settings []config.Shared, tokens ...config.Secret) (*configv1.PeerReport, error) {
	return WithToken(ctx, tokens, func(ctx context.Context) (*configv1.PeerReport, error) {
		return compare(ctx, client, self, peer, settings)
	})
}

func compare(ctx context.Context, client Client, self, peer string, settings []config.Shared) (*configv1.PeerReport, error) {
	about := exchange{caller: self, peer: peer, callerNonce: make([]byte, nonceSize)}
	_, _ = rand.Read(about.callerNonce) // never fails, see crypto/rand
	req := &configv1.ComparePeerRequest{Service: self, Nonce: about.callerNonce}
	resp, err := client.ComparePeer(ctx, req)
	if err != nil {
		return nil, err
	}
	if resp.GetService() != peer {
		return nil, ErrOtherService
	}
	about.peerNonce = resp.GetNonce()
	parts := make([]part, len(settings))
	for i, s := range settings {
		parts[i] = part{about, s}
		req.Comparisons = append(req.Comparisons, parts[i].comparison())
	}
	if resp, err = client.ComparePeer(ctx, req); err != nil {
		return nil, err
	}
	if !slices.EqualFunc(req.GetComparisons(), resp.GetAnswers(), func(c *configv1.Comparison, a *configv1.ComparisonAnswer) bool {
		return c.GetEnv() == a.GetEnv()
	}) {
		return nil, ErrAnswer
	}
	report := &configv1.PeerReport{Service: peer, Reachable: true, Version: printable(resp.GetVersion())}
	for i, answer := range resp.GetAnswers() {
		if answer.GetState() == configv1.ComparisonState_COMPARISON_STATE_NOT_SHARED {
			continue
		}
		report.Checks = append(report.Checks, parts[i].check(answer))
	}
	report.Checks = append(report.Checks, versions(peer, resp.GetVersion()))
	return report, nil
}

// part is the part of a comparison that is about one setting.
type part struct {
	about   exchange
	setting config.Shared
}

// comparison asks. Without a value to compare it asks only whether there is one.
func (p part) comparison() *configv1.Comparison {
	c := &configv1.Comparison{Env: p.setting.Env}
	if p.setting.Value.IsSet() && !isTooShort(p.setting) {
		c.Proof = p.about.proof(byCaller, p.setting)
	}
	return c
}

// check judges an answer.
func (p part) check(answer *configv1.ComparisonAnswer) *configv1.PeerCheck {
	result := p.result(answer)
	return &configv1.PeerCheck{
		Env: p.setting.Env, Result: result, Agreement: p.setting.Agreement,
		Message: meaning(result, p.setting.Agreement, p.about.peer, isTooShort(p.setting)),
	}
}

func (p part) result(answer *configv1.ComparisonAnswer) configv1.PeerResult {
	state := answer.GetState()
	switch state {
	case configv1.ComparisonState_COMPARISON_STATE_UNSET:
		if p.setting.Value.IsSet() {
			return configv1.PeerResult_PEER_RESULT_UNSET_THERE
		}
		return configv1.PeerResult_PEER_RESULT_UNSET_BOTH
	case configv1.ComparisonState_COMPARISON_STATE_EQUAL, configv1.ComparisonState_COMPARISON_STATE_DIFFERENT, configv1.ComparisonState_COMPARISON_STATE_TOO_SHORT:
	default:
		return configv1.PeerResult_PEER_RESULT_UNKNOWN
	}
	switch {
	case !p.setting.Value.IsSet():
		return configv1.PeerResult_PEER_RESULT_UNSET_HERE
	case state == configv1.ComparisonState_COMPARISON_STATE_TOO_SHORT || isTooShort(p.setting):
		return configv1.PeerResult_PEER_RESULT_TOO_SHORT
	case state == configv1.ComparisonState_COMPARISON_STATE_DIFFERENT:
		return configv1.PeerResult_PEER_RESULT_DIFFERENT
	case p.about.proves(answer.GetProof(), byPeer, p.setting):
		return configv1.PeerResult_PEER_RESULT_EQUAL
	default: // it says so, and does not prove it
		return configv1.PeerResult_PEER_RESULT_UNKNOWN
	}
}

// Refused is what it means that a peer refuses the token of the service that asks.
func Refused(peer string, token config.Shared) *configv1.PeerCheck {
	result := configv1.PeerResult_PEER_RESULT_DIFFERENT
	if !token.Value.IsSet() {
		result = configv1.PeerResult_PEER_RESULT_UNSET_HERE
	}
	return &configv1.PeerCheck{Env: token.Env, Result: result, Agreement: token.Agreement, Message: meaning(result, token.Agreement, peer, false)}
}

// versions compares the builds, which are no secret.
func versions(peer, theirs string) *configv1.PeerCheck {
	check := &configv1.PeerCheck{
		Result: configv1.PeerResult_PEER_RESULT_EQUAL, Agreement: configv1.Agreement_AGREEMENT_SHOULD,
		Message: "both are of the same version",
	}
	if theirs != version.String() {
		check.Result = configv1.PeerResult_PEER_RESULT_DIFFERENT
		check.Message = "the " + peer + " is of another version: run the same one everywhere once an update is done"
	}
	return check
}
