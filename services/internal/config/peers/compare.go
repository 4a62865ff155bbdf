package peers

import (
	"context"
	"crypto/rand"
	"errors"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/version"
)

// sessionSize is the size of a session's id, in bytes.
const sessionSize = 16

// Errors of Compare besides those of the call.
var (
	// ErrOtherService means that another service answered than the one that was
	// to be asked.
	ErrOtherService = errors.New("another service answers there")
	// ErrAnswer means that the answer does not fit the question.
	ErrAnswer = errors.New("the answer does not fit the question")
)

// Compare asks the service named peer, by one call of the client, which of the
// settings of the service named self it has the same values for. The report has
// one check for each setting that both have, in the order given, and one for
// the versions; its Env is left to the caller. The error is the call's,
// ErrOtherService or ErrAnswer; Explain says what it means.
func Compare(ctx context.Context, client Client, self, peer string, settings []config.Shared) (*configv1.PeerReport, error) {
	q := newQuestion(self, peer, settings)
	resp, err := client.ComparePeer(ctx, q.request)
	if err != nil {
		return nil, err
	}
	if resp.GetService() != peer {
		return nil, ErrOtherService
	}
	if len(resp.GetAnswers()) != len(q.parts) {
		return nil, ErrAnswer
	}
	report := &configv1.PeerReport{Service: peer, Reachable: true, Version: printable(resp.GetVersion())}
	for i, answer := range resp.GetAnswers() {
		if answer.GetEnv() != q.parts[i].setting.Env {
			return nil, ErrAnswer
		}
		if check := q.parts[i].check(peer, answer); check != nil {
			report.Checks = append(report.Checks, check)
		}
	}
	report.Checks = append(report.Checks, versions(peer, resp.GetVersion()))
	return report, nil
}

// question is a request and what the answer to it is judged by.
type question struct {
	request *configv1.ComparePeerRequest
	parts   []part
}

// part is the part of a question that is about one setting.
type part struct {
	setting config.Shared
	// isSet and tooShort are about the value here.
	isSet, tooShort bool
	exchange        *initiation
}

func newQuestion(self, peer string, settings []config.Shared) question {
	session := make([]byte, sessionSize)
	_, _ = rand.Read(session) // never fails, see crypto/rand
	q := question{request: &configv1.ComparePeerRequest{Service: self, SessionId: session}}
	for _, s := range settings {
		value := s.Value()
		p := part{setting: s, isSet: value != "", tooShort: isTooShort(s, value)}
		if !p.isSet || p.tooShort {
			// The peer is asked only whether it has a value. A share has to be sent,
			// and must have nothing to do with the secret.
			value = rand.Text()
		}
		p.exchange = initiate(value, binding{session: session, initiator: self, responder: peer, env: s.Env})
		q.parts = append(q.parts, p)
		q.request.Comparisons = append(q.request.Comparisons, &configv1.Comparison{Env: s.Env, Share: p.exchange.share})
	}
	return q
}

// check judges an answer; nil when the peer has no such setting.
func (p part) check(peer string, answer *configv1.ComparisonAnswer) *configv1.PeerCheck {
	if answer.GetState() == configv1.ComparisonState_COMPARISON_STATE_NOT_SHARED {
		return nil
	}
	result := p.result(answer)
	return &configv1.PeerCheck{
		Env: p.setting.Env, Result: result, Agreement: p.setting.Agreement,
		Message: meaning(result, p.setting.Agreement, peer, p.tooShort),
	}
}

func (p part) result(answer *configv1.ComparisonAnswer) configv1.PeerResult {
	switch state := answer.GetState(); {
	case state == configv1.ComparisonState_COMPARISON_STATE_UNSET && !p.isSet:
		return configv1.PeerResult_PEER_RESULT_UNSET_BOTH
	case state == configv1.ComparisonState_COMPARISON_STATE_UNSET:
		return configv1.PeerResult_PEER_RESULT_UNSET_THERE
	case state != configv1.ComparisonState_COMPARISON_STATE_COMPARED && state != configv1.ComparisonState_COMPARISON_STATE_TOO_SHORT:
		return configv1.PeerResult_PEER_RESULT_UNKNOWN
	case !p.isSet:
		return configv1.PeerResult_PEER_RESULT_UNSET_HERE
	case p.tooShort || state == configv1.ComparisonState_COMPARISON_STATE_TOO_SHORT:
		return configv1.PeerResult_PEER_RESULT_TOO_SHORT
	}
	equal, err := p.exchange.confirms(answer.GetShare(), answer.GetConfirmation())
	switch {
	case err != nil:
		return configv1.PeerResult_PEER_RESULT_UNKNOWN
	case equal:
		return configv1.PeerResult_PEER_RESULT_EQUAL
	default:
		return configv1.PeerResult_PEER_RESULT_DIFFERENT
	}
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
