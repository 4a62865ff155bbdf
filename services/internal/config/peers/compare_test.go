package peers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
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
	return config.NewShared(env, configv1.Agreement_AGREEMENT_MUST, true, func() string { return value })
}

func open(env, value string) config.Shared {
	return config.NewShared(env, configv1.Agreement_AGREEMENT_SHOULD, false, func() string { return value })
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
			for _, value := range []string{c.here.Value(), c.there.Value()} {
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
	_, err = compare("backend", func(r *configv1.ComparePeerResponse) { r.Answers = r.Answers[:1] })
	require.ErrorIs(t, err, ErrAnswer)
	_, err = compare("backend", func(r *configv1.ComparePeerResponse) { r.Answers[0], r.Answers[1] = r.Answers[1], r.Answers[0] })
	require.ErrorIs(t, err, ErrAnswer)
	// The answer about one setting, sent for another with the same value.
	report, err := compare("backend", func(r *configv1.ComparePeerResponse) {
		r.Answers[0].Share, r.Answers[0].Confirmation = r.Answers[1].Share, r.Answers[1].Confirmation
	})
	require.NoError(t, err)
	require.Equal(t, configv1.PeerResult_PEER_RESULT_DIFFERENT, report.GetChecks()[0].GetResult())
	report, err = compare("backend", func(r *configv1.ComparePeerResponse) { r.Answers[0].Share = make([]byte, 32) })
	require.NoError(t, err)
	require.Equal(t, configv1.PeerResult_PEER_RESULT_UNKNOWN, report.GetChecks()[0].GetResult())
}

func TestRequestsThatDoNotFit(t *testing.T) {
	settings := []config.Shared{secret("A", long+"1")}
	q := newQuestion("manager", "backend", settings)
	q.request.Comparisons = append(q.request.Comparisons, q.request.Comparisons[0])
	_, err := Answer("backend", settings, q.request)
	require.Equal(t, connect.CodeInvalidArgument, rpcerror.CodeOf(err), "two guesses in one call")
	q = newQuestion("manager", "backend", settings)
	q.request.Comparisons[0].Share = make([]byte, 32)
	_, err = Answer("backend", settings, q.request)
	require.Equal(t, connect.CodeInvalidArgument, rpcerror.CodeOf(err), "the identity")
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
		"another service":        ErrOtherService,
		"as this version expect": ErrAnswer,
	} {
		text := Explain(err)
		require.Contains(t, text, says)
		require.NotContains(t, text, host)
	}
}
