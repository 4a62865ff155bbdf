package config_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
)

func TestWeakSecrets(t *testing.T) {
	for secret, weak := range map[string]string{
		own:                                    "",
		strings.ToUpper(own):                   "",
		"correct horse battery staple wagon!":  "",
		"90817263544536271809908172635445361":  "",
		own[:31]:                               "has fewer than 32 characters",
		"secret":                               "is a well-known example",
		"ChangeMe":                             "is a well-known example",
		"<your-secret-goes-here-and-is-long>":  "is a well-known example",
		"change_me_to_something_long_enough!":  "is a well-known example",
		"replace-with-32-random-characters!!":  "is a well-known example",
		strings.Repeat("x", 40):                "repeats the same few characters",
		strings.Repeat("secret", 6):            "repeats the same few characters",
		strings.Repeat("abcdefgh-", 4) + "ab":  "repeats the same few characters",
		"0123456789abcdefghijklmnopqrstuvwxyz": "is a sequence of characters",
		"zyxwvutsrqponmlkjihgfedcba9876543210": "is a sequence of characters",
	} {
		got := ""
		c := config.CheckEnvironment(config.Sources{Environ: managerEnv("INTERNAL_API_TOKEN=" + secret)}, "manager")
		require.NoError(t, c.Err())
		for _, f := range c.Services[0].Report.GetFindings() {
			require.Equal(t, config.FindingWeakSecret+" INTERNAL_API_TOKEN", f.GetCode()+" "+f.GetEnv())
			require.NotContains(t, f.GetMessage(), secret+" ")
			got, _, _ = strings.Cut(f.GetMessage(), ": ")
		}
		require.Equal(t, weak, got, secret)
	}
}

// TestProduction lists what has to be changed before production, and asks the
// same of the environment of a development.
func TestProduction(t *testing.T) {
	environ := backendEnv("DEBUG=1", "LOG_SQL=yes", "S3_SECRET_KEY=poco-secret", "S3_ACCESS_KEY=minioadmin", "OPENAI_API_KEY=test")
	environ[0], environ[1] = "DATABASE_URL=postgres://postgres:postgres@db/poco", "SECRET_KEY=change-this-secret"
	want := []string{"!DEBUG", "!LOG_SQL", "!DATABASE_URL", "!SECRET_KEY", "!INTERNAL_API_TOKEN", "!S3_ACCESS_KEY", "!S3_SECRET_KEY", "no_effect OPENAI_API_KEY"}
	require.Equal(t, want, said(t, "backend", append(environ, "APP_ENV=production")))
	require.ElementsMatch(t, []string{
		"weak_secret DATABASE_URL", "insecure_default SECRET_KEY", "weak_secret INTERNAL_API_TOKEN", "weak_secret S3_ACCESS_KEY",
		"insecure_default S3_SECRET_KEY", "no_effect OPENAI_API_KEY",
	}, said(t, "backend", environ))

	src := config.Sources{Environ: environ, DotEnvPath: write(t, ".env", "APP_ENV=development\n")}
	check := config.CheckEnvironment(src.ForProduction(), "backend")
	require.Len(t, check.Services[0].Problems, 7)
	require.Equal(t, environ, src.Environ, "the sources themselves stay as they are")

	strong := managerEnv("APP_ENV=production", "DEBUG=false", "S3_ACCESS_KEY=AK7Q2M9X4T")
	require.Empty(t, said(t, "manager", strong))
}

func TestExecutorsByHandHaveAStrongToken(t *testing.T) {
	for _, token := range []string{"abc", "change-this-token-" + own} {
		require.Equal(t, []string{"!EXECUTOR_TOKEN"}, said(t, "executor", []string{"APP_ENV=production", "DEFAULT_MODEL=m", "EXECUTOR_TOKEN=" + token}))
	}
	require.Empty(t, said(t, "executor", []string{"APP_ENV=production", "DEFAULT_MODEL=m", "EXECUTOR_TOKEN=" + own}))
}

func TestStackDefaultsAreForDevelopment(t *testing.T) {
	require.Equal(t, []string{"insecure_default POSTGRES_PASSWORD"}, said(t, "stack", nil))
	c := config.CheckEnvironment(config.Sources{Environ: []string{"POSTGRES_PASSWORD=short"}}.ForProduction(), "stack")
	// The stack itself has no APP_ENV.
	require.NoError(t, c.Err())
}

func TestNoEffectIsToldOfWhatSomebodySet(t *testing.T) {
	require.Equal(t, []string{"no_effect SCHEDULE_CONFIG_PATH"}, said(t, "manager", managerEnv("SCHEDULE_CONFIG_PATH=x.toml")))
	l, err := config.Load(&configv1.ManagerConfig{}, "manager", config.Sources{Environ: managerEnv(), Embedded: map[string]string{"SCHEDULE_CONFIG_PATH": "x"}})
	require.NoError(t, err)
	require.Empty(t, l.Report().GetFindings())
}
