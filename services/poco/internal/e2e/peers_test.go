package e2e

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/prototext"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/testkit"
	"github.com/poco-ai/poco/services/internal/testkit/output"
)

// checkPeers asks a program whether it agrees with its peers, without a token,
// and gives what it says by peer and variable.
func checkPeers(p *program) (answer *configv1.CheckPeersResponse, results map[string]string) {
	p.t.Helper()
	// Ready or not: a service that cannot work because its peer refuses it has to
	// answer all the more.
	answer, err := configv1.NewConfigServiceClient(p.dial(config.Secret{})).
		CheckPeers(p.t.Context(), &configv1.CheckPeersRequest{}, grpc.WaitForReady(true))
	require.NoError(p.t, err)
	results = map[string]string{}
	for _, peer := range answer.GetPeers() {
		for _, check := range peer.GetChecks() {
			results[peer.GetService()+" "+check.GetEnv()] = strings.TrimPrefix(check.GetResult().String(), "PEER_RESULT_")
		}
	}
	return answer, results
}

// TestServicesThatAgree asks a healthy system, over each protocol.
func TestServicesThatAgree(t *testing.T) {
	buf, err := exec.LookPath("buf")
	if err != nil {
		testkit.Missing(t, "needs buf on PATH, where .ci/test puts it: PATH=\"$(.ci/tool-dir buf):$PATH\"")
	}
	cli, _ := newFakeCLI(t, cliCompletes)
	s := newStack(t, stackOptions{cli: cli})
	s.backend.env["EXECUTOR_MANAGER_URL"] = s.manager.url()
	s.start()
	for _, args := range [][]string{nil, {"--protocol", "grpcweb"}, {"--protocol", "grpc", "--http2-prior-knowledge"}} {
		args = append(append([]string{"curl", "-d", "{}"}, args...), s.manager.url()+"/poco.config.v1.ConfigService/CheckPeers")
		out, err := exec.CommandContext(t.Context(), buf, args...).CombinedOutput()
		require.NoError(t, err, "%s", out)
		var answer struct {
			Service string
			Peers   []struct {
				Service   string
				Reachable bool
				Checks    []struct{ Env, Result string }
			}
		}
		require.NoError(t, json.Unmarshal(out, &answer))
		require.Equal(t, "manager", answer.Service)
		require.Len(t, answer.Peers, 2)
		for _, peer := range answer.Peers {
			require.True(t, peer.Reachable)
			require.NotEmpty(t, peer.Checks)
		}
	}
	for _, p := range []*program{s.backend, s.manager} {
		_, results := checkPeers(p)
		other := map[*program]string{s.backend: "manager", s.manager: "backend"}[p]
		for _, env := range []string{"INTERNAL_API_TOKEN", "S3_ENDPOINT", "S3_BUCKET", "S3_REGION", "APP_ENV", ""} {
			require.Equal(t, "EQUAL", results[other+" "+env], "%s about %q", p.name, env)
		}
	}
	_, results := checkPeers(s.manager)
	require.Equal(t, "EQUAL", results["manager CALLBACK_BASE_URL"])
}

// TestServicesThatDisagree gives a manager another token and another bucket: it
// cannot work, and says why to anyone who asks.
func TestServicesThatDisagree(t *testing.T) {
	cli, _ := newFakeCLI(t, cliCompletes)
	s := newStack(t, stackOptions{cli: cli})
	s.backend.env["EXECUTOR_MANAGER_URL"] = s.manager.url()
	const token, bucket = "another-internal-token-marked-0815", "another-bucket-marked-0815"
	s.manager.env["INTERNAL_API_TOKEN"], s.manager.env["S3_BUCKET"] = token, bucket
	s.manager.env["S3_SECRET_KEY"] = "marked-0815"
	logs := map[*program]*output.Buffer{s.backend: {}, s.manager: {}}
	for p, log := range logs {
		p.log, p.env["LOG_LEVEL"] = log, "DEBUG"
	}
	s.startBackend()

	answer, _ := checkPeers(s.backend)
	require.False(t, answer.GetPeers()[0].GetReachable())
	require.Contains(t, answer.GetPeers()[0].GetError(), "the connection is refused")

	s.manager.launch()
	var said strings.Builder
	answer, results := checkPeers(s.manager)
	said.WriteString(prototext.Format(answer))
	require.Equal(t, "DIFFERENT", results["backend INTERNAL_API_TOKEN"])
	require.Equal(t, "DIFFERENT", results["backend S3_BUCKET"])
	require.Equal(t, "TOO_SHORT", results["backend S3_SECRET_KEY"])
	require.Equal(t, "EQUAL", results["backend S3_ENDPOINT"])
	answer, results = checkPeers(s.backend)
	said.WriteString(prototext.Format(answer))
	require.Equal(t, "DIFFERENT", results["manager INTERNAL_API_TOKEN"])
	require.Equal(t, "DIFFERENT", results["manager S3_BUCKET"])

	for _, value := range []string{"0815", internalToken, s.common["S3_BUCKET"]} {
		require.NotContains(t, said.String(), value)
	}
	s.backend.stop()
	answer, _ = checkPeers(s.manager)
	require.Contains(t, answer.GetPeers()[0].GetError(), "the connection is refused")
	for p, log := range logs {
		for _, secret := range []string{token, "marked-0815", internalToken} {
			require.NotContains(t, strings.ReplaceAll(log.String(), bucket, ""), secret, p.name)
		}
	}
}
