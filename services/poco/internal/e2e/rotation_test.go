package e2e

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/testkit/output"
)

// rotatedToken is what internalToken is replaced with.
const rotatedToken = "the-token-after-the-rotation"

// fromFile moves a secret of a program into a file of its own.
func (p *program) fromFile(env string) (path string) {
	p.t.Helper()
	path = filepath.Join(p.t.TempDir(), env)
	writeSecret(p.t, path, p.env[env])
	delete(p.env, env)
	p.env[env+"_FILE"] = path
	return path
}

// writeSecret replaces a secret's file at once, as tools that rotate do.
func writeSecret(t testing.TB, path, value string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".new", []byte(value+"\n"), 0o600))
	require.NoError(t, os.Rename(path+".new", path))
}

// config asks a program for its settings with a token.
func (p *program) config(token string) (*configv1.GetConfigResponse, error) {
	conn := p.dial(config.NewSecret(token))
	ctx, cancel := context.WithTimeout(p.t.Context(), startTimeout)
	defer cancel()
	return configv1.NewConfigServiceClient(conn).GetConfig(ctx, &configv1.GetConfigRequest{})
}

// awaitToken returns once a program takes or refuses a token.
func (p *program) awaitToken(token string, want codes.Code) {
	p.t.Helper()
	require.Eventually(p.t, func() bool {
		_, err := p.config(token)
		return status.Code(err) == want
	}, awaitTimeout, 50*time.Millisecond, "%s and its token: %s", p.name, want)
}

func TestTokensRotatedMidRun(t *testing.T) {
	s := newStack(t, stackOptions{})
	shared := s.backend.fromFile("INTERNAL_API_TOKEN")
	delete(s.manager.env, "INTERNAL_API_TOKEN")
	s.manager.env["INTERNAL_API_TOKEN_FILE"] = shared
	model := s.manager.fromFile("ANTHROPIC_AUTH_TOKEN")
	s.start()
	f, session, run := s.midRun()

	writeSecret(t, shared, rotatedToken)
	for _, p := range []*program{s.backend, s.manager} {
		p.awaitToken(rotatedToken, codes.OK)
		_, err := p.config(internalToken)
		require.NoError(t, err, "%s takes the old token for a while", p.name)
		_, err = p.config("another-token-of-the-test")
		require.Equal(t, codes.Unauthenticated, status.Code(err))
	}
	const rotatedModelToken = "the-model-token-after-the-rotation"
	s.model.Rotate(rotatedModelToken)
	writeSecret(t, model, rotatedModelToken)
	s.letGo(session)
	s.requireGoneOn(f, run)
	require.True(t, slices.Contains(s.model.Stats().Tokens, rotatedModelToken), "the model was asked with the new token")
	require.Zero(t, s.model.Stats().Unauthorized)
}

// TestManagerOutlivesARefusedToken rotates the backend's token so long before
// the manager's that the grace has ended in between.
func TestManagerOutlivesARefusedToken(t *testing.T) {
	s := newStack(t, stackOptions{})
	backends, managers := s.backend.fromFile("INTERNAL_API_TOKEN"), s.manager.fromFile("INTERNAL_API_TOKEN")
	s.backend.env["ROTATION_GRACE_SECONDS"] = "1"
	s.start()
	f, session, run := s.midRun()

	writeSecret(t, backends, rotatedToken)
	s.backend.awaitToken(rotatedToken, codes.OK)
	s.backend.awaitToken(internalToken, codes.Unauthenticated)
	s.letGo(session) // what the run does now, the backend does not take
	writeSecret(t, managers, rotatedToken)
	s.manager.awaitToken(rotatedToken, codes.OK)
	s.requireGoneOn(f, run)
}

// TestLogSettingsAreLive changes .env under a running backend.
func TestLogSettingsAreLive(t *testing.T) {
	s := newStack(t, stackOptions{})
	dotEnv := filepath.Join(t.TempDir(), ".env")
	log := &output.Buffer{}
	s.backend.log, s.backend.env["POCO_ENV_FILE"] = log, dotEnv
	delete(s.backend.env, "LOG_LEVEL")
	require.NoError(t, os.WriteFile(dotEnv, []byte("LOG_LEVEL=ERROR\n"), 0o600))
	s.startBackend()
	s.enqueue("hello", "")
	require.Empty(t, log.String())

	require.NoError(t, os.WriteFile(dotEnv, []byte("LOG_LEVEL=INFO\nACCESS_LOG=true\nLOG_SQL=true\nPORT=1\n"), 0o600))
	report, err := s.backend.config(internalToken)
	require.NoError(t, err)
	values, pending := map[string]string{}, []string(nil)
	for _, field := range report.GetFields() {
		values[field.GetEnv()] = field.GetValue()
		if field.GetRestartPending() {
			pending = append(pending, field.GetEnv())
		}
	}
	require.Equal(t, []string{"INFO", "true", "true"}, []string{values["LOG_LEVEL"], values["ACCESS_LOG"], values["LOG_SQL"]})
	require.Empty(t, pending, "PORT is set in the environment, which comes first")
	const prompt = "a prompt that is a parameter of statements"
	_, run := s.enqueue(prompt, "")
	s.run(run)
	s.backend.stop() // a line is written when the answer has been
	require.Contains(t, log.String(), `procedure=/poco.backend.v1.RunService/GetRun code=ok duration_ms=`)
	require.Contains(t, log.String(), "msg=sql")
	require.Contains(t, log.String(), "FROM runs")
	require.Contains(t, log.String(), "INSERT INTO messages")
	require.NotContains(t, log.String(), prompt)
}
