package config_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestTwelveMistakes: an environment with twelve mistakes gets one report with
// twelve entries.
func TestTwelveMistakes(t *testing.T) {
	const golden = "testdata/twelve-mistakes.golden"
	content, err := os.ReadFile("testdata/twelve-mistakes.env")
	require.NoError(t, err)
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	folder, err := os.Getwd()
	require.NoError(t, err)
	report, problems := refusal(t, content)
	if *update {
		require.NoError(t, os.WriteFile(filepath.Join(folder, golden), []byte(report), 0o600))
		want = []byte(report)
	}
	require.Equal(t, string(want), report, "write it anew with -update when words of the schema have changed")
	require.Len(t, problems, 12)

	for line := range strings.Lines(string(content)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "DATABASE_URL", "SECRET_KEY", "INTERNAL_API_TOKEN", "S3_ACCESS_KEY", "S3_SECRET_KEY":
			require.NotContains(t, report, value)
		}
	}
}

// refusal is what a start of the backend in a folder with this .env file says.
func refusal(t *testing.T, dotEnv []byte) (string, []config.Problem) {
	t.Helper()
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile(".env", dotEnv, 0o600))
	_, err := config.Load(&configv1.BackendConfig{}, "backend", config.Sources{DotEnvPath: ".env"})
	var problems *config.Problems
	require.ErrorAs(t, err, &problems)
	return err.Error() + "\n", problems.List
}
