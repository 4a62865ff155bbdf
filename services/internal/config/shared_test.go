package config

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
)

func TestShared(t *testing.T) {
	loaded, err := Load(&configv1.FrontendConfig{}, "frontend", Sources{Environ: []string{
		"BACKEND_URL=http://backend:8000", "INTERNAL_API_TOKEN=the-token-of-all-the-services-here", "APP_ENV=Development",
	}})
	require.NoError(t, err)
	shared := map[string]Shared{}
	for _, s := range loaded.Shared() {
		shared[s.Env] = s
	}
	require.Equal(t, "development", shared["APP_ENV"].Value.Reveal())
	require.False(t, shared["APP_ENV"].IsSecret)
	token := shared["INTERNAL_API_TOKEN"]
	require.True(t, token.IsSecret)
	require.Equal(t, configv1.Agreement_AGREEMENT_SHOULD, token.Agreement)
	require.Equal(t, "the-token-of-all-the-services-here", token.Value.Reveal())
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", token, token, token), "the-token-of")
	require.NotContains(t, shared, "BACKEND_URL", "nothing has to agree with it")
}

func TestSharedWithoutAValue(t *testing.T) {
	loaded, err := Load(&configv1.FrontendConfig{}, "frontend", Sources{Environ: []string{"BACKEND_URL=http://backend:8000"}})
	require.NoError(t, err)
	for _, s := range loaded.Shared() {
		if s.Env == "INTERNAL_API_TOKEN" {
			require.False(t, s.Value.IsSet())
			return
		}
	}
	t.Fatal("INTERNAL_API_TOKEN is not shared")
}

func TestComparable(t *testing.T) {
	loaded, err := Load(&configv1.ExecutorConfig{}, "executor", Sources{Environ: []string{"EXECUTOR_TOKEN=t", "DEFAULT_MODEL=none"}})
	require.NoError(t, err)
	var shared, comparable []string
	for _, s := range loaded.Shared() {
		shared = append(shared, s.Env)
	}
	for _, s := range loaded.Comparable() {
		comparable = append(comparable, s.Env)
	}
	require.Equal(t, []string{"APP_ENV"}, shared)
	require.Equal(t, []string{"APP_ENV", "EXECUTOR_TOKEN", "ANTHROPIC_AUTH_TOKEN"}, comparable)
}

func TestURLsAreSpelledAlike(t *testing.T) {
	spelled := func(text string) string {
		loaded, err := Load(&configv1.FrontendConfig{}, "frontend", Sources{Environ: []string{"BACKEND_URL=" + text}})
		require.NoError(t, err)
		for _, s := range loaded.start.settings {
			if s.GetEnv() == "BACKEND_URL" {
				return s.Spelling(s.Text(loaded.Msg.ProtoReflect()))
			}
		}
		return ""
	}
	for _, text := range []string{"http://S3.Example:80/", "http://s3.example", "http://s3.example:80"} {
		require.Equal(t, "http://s3.example", spelled(text))
	}
	require.Equal(t, "https://s3.example:80/path", spelled("https://s3.example:80/path/"))
}
