package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"connectrpc.com/connect/v2"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/prototext"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// service answers as a peer would, and remembers what went over the wire.
type service struct {
	name     string
	settings []config.Shared
	change   func(*configv1.ComparePeerResponse)
	wire     strings.Builder
	err      error
}

func (s *service) ComparePeer(_ context.Context, req *configv1.ComparePeerRequest) (*configv1.ComparePeerResponse, error) {
	if s.err != nil {
		return nil, s.err
	}
	resp, err := Answer(s.name, s.settings, req)
	if s.change != nil {
		s.change(resp)
	}
	fmt.Fprint(&s.wire, prototext.Format(req), prototext.Format(resp))
	return resp, err
}

func secret(env, value string) config.Shared {
	return config.Shared{Env: env, Agreement: configv1.Agreement_AGREEMENT_MUST, IsSecret: true, Value: config.NewSecret(value)}
}

func open(env, value string) config.Shared {
	return config.Shared{Env: env, Agreement: configv1.Agreement_AGREEMENT_SHOULD, Value: config.NewSecret(value)}
}

const long = "a-long-secret-of-the-test-"

func TestCompare(t *testing.T) {
	for name, c := range map[string]struct {
		here, there config.Shared
		want        configv1.PeerResult
		says        string
	}{
		"equal secret":       {secret("A", long+"1"), secret("A", long+"1"), configv1.PeerResult_PEER_RESULT_EQUAL, "the backend has the same value"},
		"different secret":   {secret("A", long+"1"), secret("A", long+"2"), configv1.PeerResult_PEER_RESULT_DIFFERENT, "set both to the same one"},
		"equal setting":      {open("A", "eu"), open("A", "eu"), configv1.PeerResult_PEER_RESULT_EQUAL, "the same value"},
		"different setting":  {open("A", "eu"), open("A", "us"), configv1.PeerResult_PEER_RESULT_DIFFERENT, "may be meant"},
		"unset here":         {secret("A", ""), secret("A", long+"1"), configv1.PeerResult_PEER_RESULT_UNSET_HERE, "here is none"},
		"unset there":        {secret("A", long+"1"), secret("A", ""), configv1.PeerResult_PEER_RESULT_UNSET_THERE, "the backend has no value"},
		"unset both":         {secret("A", ""), secret("A", ""), configv1.PeerResult_PEER_RESULT_UNSET_BOTH, "neither"},
		"short on both":      {secret("A", "fifteen-letters"), secret("A", "fifteen-letters"), configv1.PeerResult_PEER_RESULT_TOO_SHORT, "the secret here"},
		"short there":        {secret("A", long+"1"), secret("A", "short"), configv1.PeerResult_PEER_RESULT_TOO_SHORT, "the secret of the backend"},
		"short here":         {secret("A", "short"), secret("A", long+"1"), configv1.PeerResult_PEER_RESULT_TOO_SHORT, "the secret here"},
		"short, unset there": {secret("A", "short"), secret("A", ""), configv1.PeerResult_PEER_RESULT_UNSET_THERE, "no value"},
		"short password":     {secret("A", "postgres://poco:s3cr3t@db.example/poco"), secret("A", "postgres://poco:s3cr3t@db.example/poco"), configv1.PeerResult_PEER_RESULT_TOO_SHORT, "the secret here"},
		"long password":      {secret("A", "postgres://poco:"+long+"1@db/poco"), secret("A", "postgres://poco:"+long+"1@db/poco"), configv1.PeerResult_PEER_RESULT_EQUAL, "same"},
		"sixteen":            {secret("A", "sixteen-letters."), secret("A", "sixteen-letters."), configv1.PeerResult_PEER_RESULT_EQUAL, "same"},
	} {
		t.Run(name, func(t *testing.T) {
			peer := &service{name: "backend", settings: []config.Shared{c.there}}
			report, err := Compare(t.Context(), peer, "manager", "backend", []config.Shared{c.here})
			require.NoError(t, err)
			require.Equal(t, "backend", report.GetService())
			require.Len(t, report.GetChecks(), 2)
			require.Equal(t, c.want, report.GetChecks()[0].GetResult())
			require.Contains(t, report.GetChecks()[0].GetMessage(), c.says)
			for _, value := range []string{c.here.Value.Reveal(), c.there.Value.Reveal()} {
				if len(value) > len("eu") {
					require.NotContains(t, peer.wire.String()+prototext.Format(report), value)
				}
			}
		})
	}
}

func TestOnlyWhatBothHaveIsCompared(t *testing.T) {
	peer := &service{name: "backend", settings: []config.Shared{open("B", "x"), open("C", "x")}}
	report, err := Compare(t.Context(), peer, "manager", "backend", []config.Shared{open("A", "x"), open("B", "x")})
	require.NoError(t, err)
	require.Len(t, report.GetChecks(), 2)
	require.Equal(t, "B", report.GetChecks()[0].GetEnv())
}

func TestVersions(t *testing.T) {
	peer := &service{name: "backend"}
	report, err := Compare(t.Context(), peer, "manager", "backend", nil)
	require.NoError(t, err)
	require.Equal(t, configv1.PeerResult_PEER_RESULT_EQUAL, report.GetChecks()[0].GetResult())
	require.Empty(t, report.GetChecks()[0].GetEnv())
	peer.change = func(r *configv1.ComparePeerResponse) { r.Version = "v0\x1b[31m" }
	report, err = Compare(t.Context(), peer, "manager", "backend", nil)
	require.NoError(t, err)
	require.Equal(t, configv1.PeerResult_PEER_RESULT_DIFFERENT, report.GetChecks()[0].GetResult())
	require.NotContains(t, prototext.Format(report), "31m")
}

func TestAnswersThatDoNotFit(t *testing.T) {
	settings := []config.Shared{secret("A", long+"1"), secret("B", long+"2")}
	compare := func(name string, change func(*configv1.ComparePeerResponse)) (*configv1.PeerReport, error) {
		return Compare(t.Context(), &service{name: name, settings: settings, change: change}, "manager", "backend", settings)
	}
	_, err := compare("frontend", nil)
	require.ErrorIs(t, err, ErrOtherService)
	_, err = compare("backend", func(r *configv1.ComparePeerResponse) { r.Answers = r.Answers[:len(r.Answers)/2] })
	require.ErrorIs(t, err, ErrAnswer)
	_, err = compare("backend", func(r *configv1.ComparePeerResponse) { slices.Reverse(r.Answers) })
	require.ErrorIs(t, err, ErrAnswer)
	for name, change := range map[string]func(*configv1.ComparisonAnswer){
		"no proof":              func(a *configv1.ComparisonAnswer) { a.Proof = nil },
		"another's proof":       func(a *configv1.ComparisonAnswer) { a.Proof = append(a.Proof[1:], a.Proof[0]) },
		"a state of the future": func(a *configv1.ComparisonAnswer) { a.State = 99 },
	} {
		report, err := compare("backend", func(r *configv1.ComparePeerResponse) {
			if len(r.Answers) > 0 {
				change(r.Answers[0])
			}
		})
		require.NoError(t, err)
		require.Equal(t, configv1.PeerResult_PEER_RESULT_UNKNOWN, report.GetChecks()[0].GetResult(), name)
		require.Equal(t, configv1.PeerResult_PEER_RESULT_EQUAL, report.GetChecks()[1].GetResult(), name)
	}
}

// TestWhoDoesNotProveLearnsNothing asks without the value, with a wrong one, and
// with what others have proven.
func TestWhoDoesNotProveLearnsNothing(t *testing.T) {
	settings := []config.Shared{secret("A", long+"1"), secret("B", long+"1")}
	ask := func(caller string, nonce []byte, comparisons ...*configv1.Comparison) *configv1.ComparePeerResponse {
		resp, err := Answer("backend", settings, &configv1.ComparePeerRequest{Service: caller, Nonce: nonce, Comparisons: comparisons})
		require.NoError(t, err)
		return resp
	}
	nonce := bytes.Repeat([]byte{7}, nonceSize)
	about := answering("manager", "backend", nonce)
	require.Equal(t, about.peerNonce, ask("manager", nonce).GetNonce())
	right := about.proof(byCaller, secret("A", long+"1"))
	answer := ask("manager", nonce, &configv1.Comparison{Env: "A", Proof: right}).GetAnswers()[0]
	require.Equal(t, configv1.ComparisonState_COMPARISON_STATE_EQUAL, answer.GetState())
	require.Equal(t, about.proof(byPeer, secret("A", long+"1")), answer.GetProof())

	other := bytes.Repeat([]byte{8}, nonceSize)
	require.NotEqual(t, about.peerNonce, ask("manager", other).GetNonce(), "each nonce has an answer of its own")
	require.NotEqual(t, about.peerNonce, ask("frontend", nonce).GetNonce())
	for name, c := range map[string]struct {
		caller string
		nonce  []byte
		env    string
		proof  []byte
	}{
		"nothing":           {"manager", nonce, "A", nil},
		"a wrong value":     {"manager", nonce, "A", about.proof(byCaller, secret("A", long+"2"))},
		"of another":        {"manager", nonce, "B", right},
		"by another":        {"frontend", nonce, "A", right},
		"at another time":   {"manager", other, "A", right},
		"the peer's own":    {"manager", nonce, "A", answer.GetProof()},
		"without its nonce": {"manager", nonce, "A", exchange{caller: "manager", peer: "backend", callerNonce: nonce}.proof(byCaller, secret("A", long+"1"))},
	} {
		answer := ask(c.caller, c.nonce, &configv1.Comparison{Env: c.env, Proof: c.proof}).GetAnswers()[0]
		require.Equal(t, configv1.ComparisonState_COMPARISON_STATE_DIFFERENT, answer.GetState(), name)
		require.Empty(t, answer.GetProof(), name)
	}
	_, err := Answer("backend", settings, &configv1.ComparePeerRequest{Nonce: nonce, Comparisons: []*configv1.Comparison{{Env: "A"}, {Env: "A"}}})
	require.Equal(t, connect.CodeInvalidArgument, rpcerror.CodeOf(err), "two guesses in one call")
}

// TestTokensInTurn: one is shown after the other, then none; what fails for
// another reason is not tried again.
func TestTokensInTurn(t *testing.T) {
	call := func(accepted string, failure error) (tried []string, err error) {
		tokens := []config.Secret{config.NewSecret("one"), {}, config.NewSecret("two")}
		_, err = WithToken(t.Context(), tokens, func(ctx context.Context) (struct{}, error) {
			shown := ""
			if info, ok := connect.CallInfoForClientContext(ctx); ok {
				shown = info.RequestHeader().Get("Authorization")
			}
			tried = append(tried, shown)
			if shown == accepted {
				return struct{}{}, failure
			}
			return struct{}{}, rpcerror.Unauthenticated("no")
		})
		return tried, err
	}
	tried, err := call("Bearer two", nil)
	require.NoError(t, err)
	require.Equal(t, []string{"Bearer one", "Bearer two"}, tried)
	tried, err = call("Bearer one", errors.New("broken"))
	require.EqualError(t, err, "broken")
	require.Len(t, tried, 1)
	tried, err = call("nobody", nil)
	require.True(t, IsRefused(err))
	require.Equal(t, []string{"Bearer one", "Bearer two", ""}, tried)
}

func TestExplainRepeatsNothing(t *testing.T) {
	const host = "secret-host.internal"
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	for says, err := range map[string]error{
		"cannot be resolved":     dial(&net.DNSError{Err: "no such host", Name: host}),
		"refused":                dial(os.NewSyscallError("connect", syscall.ECONNREFUSED)),
		"in time":                fmt.Errorf("call %s: %w", host, context.DeadlineExceeded),
		"asked too often":        connect.NewError(connect.CodeResourceExhausted, host).WithRemote(),
		"cannot compare":         connect.NewError(connect.CodeUnimplemented, host),
		"versions that do not":   connect.NewError(connect.CodeInvalidArgument, host),
		"cannot be reached":      connect.NewError(connect.CodeUnavailable, host),
		"not answer like":        errors.New(host),
		"refuses the token":      rpcerror.Unauthenticated(host),
		"another service":        ErrOtherService,
		"as this version expect": ErrAnswer,
	} {
		text := Explain(err)
		require.Contains(t, text, says)
		require.NotContains(t, text, host)
	}
}
