package servicemain_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/servicemain"
	"github.com/poco-ai/poco/services/internal/testkit/output"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait; it is only ever reached by a bug.
const patience = time.Minute

func load(t *testing.T, environ ...string) (cfg *config.Loaded[*configv1.FrontendConfig], dotEnv string) {
	t.Helper()
	dotEnv = filepath.Join(t.TempDir(), ".env")
	cfg, err := config.Load(&configv1.FrontendConfig{}, "frontend", config.Sources{
		Environ: append(environ, "BACKEND_URL=http://localhost:1"), DotEnvPath: dotEnv,
	})
	require.NoError(t, err)
	return cfg, dotEnv
}

// TestTheLogFollowsItsSettings: its level, and the secrets that it hides.
func TestTheLogFollowsItsSettings(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte("the-first-token"), 0o600))
	cfg, dotEnv := load(t, "INTERNAL_API_TOKEN_FILE="+token)
	var out output.Buffer
	logger, closeLog, err := servicemain.Follow(cfg, &out)
	require.NoError(t, err)
	changed := make(chan string, 10)
	cfg.OnChange(func(c *configv1.FrontendConfig) { // after the log's own
		changed <- c.GetLogging().GetLevel() + " " + cfg.Secret("INTERNAL_API_TOKEN").Reveal()
	})
	await := func(want string) {
		late := time.After(patience)
		for {
			select {
			case got := <-changed:
				if got == want {
					return
				}
			case <-late:
				require.FailNow(t, "no change", want)
			}
		}
	}
	logger.Debug("not to be seen")
	logger.Info("the-first-token")

	require.NoError(t, os.WriteFile(dotEnv, []byte("LOG_LEVEL=ERROR\n"), 0o600))
	await("ERROR the-first-token")
	logger.Warn("not to be seen")
	require.NoError(t, os.WriteFile(dotEnv, []byte("LOG_LEVEL=DEBUG\n"), 0o600))
	await("DEBUG the-first-token")
	logger.Debug("to be seen")
	require.NoError(t, os.WriteFile(token+"~", []byte("the-second-token"), 0o600))
	require.NoError(t, os.Rename(token+"~", token))
	await("DEBUG the-second-token")
	logger.Info("the-first-token the-second-token")
	require.NoError(t, closeLog())
	require.Equal(t, 2, strings.Count(out.String(), `msg="configuration reloaded" service=frontend changed=[`),
		"by the new level: not of the change to ERROR")
	require.NotContains(t, out.String(), "not to be seen")
	require.Contains(t, out.String(), "to be seen")
	require.NotContains(t, out.String(), "-token ")
	require.Contains(t, out.String(), `msg="[redacted] [redacted]"`)
}

func TestALogFolderThatCannotBeUsed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	cfg, _ := load(t, "LOG_TO_FILE=true", "LOG_DIR="+filepath.Join(file, "logs"))
	_, _, err := servicemain.Follow(cfg, &output.Buffer{})
	var problems *config.Problems
	require.ErrorAs(t, err, &problems)
	require.Equal(t, "LOG_DIR", problems.List[0].Env)
}
