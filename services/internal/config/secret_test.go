package config_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/config"
)

// requireNoMark prints values in every way Go can and looks for a mark.
func requireNoMark(t *testing.T, mark string, values ...any) {
	t.Helper()
	for _, value := range values {
		for _, v := range []any{value, &value, struct{ V any }{value}, []any{value}, map[string]any{"k": value}} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%10v"} {
				require.NotContains(t, fmt.Sprintf(verb, v), mark, "%s of %T", verb, v)
			}
			var text, js bytes.Buffer
			slog.New(slog.NewTextHandler(&text, nil)).Info("m", "k", v)
			slog.New(slog.NewJSONHandler(&js, nil)).Info("m", "k", v)
			require.NotContains(t, text.String()+js.String(), mark)
			if data, err := json.Marshal(v); err == nil {
				require.NotContains(t, string(data), mark)
			}
		}
	}
}

func TestSecretPrintsRedacted(t *testing.T) {
	const mark = "s3cr3t-mark"
	secret := config.NewSecret(mark)
	requireNoMark(t, mark, secret, &secret)
	require.Equal(t, "[redacted]", fmt.Sprint(secret))
	require.Equal(t, "[redacted]", fmt.Sprintf("%#v", secret))
	data, err := json.Marshal(secret)
	require.NoError(t, err)
	require.JSONEq(t, `"[redacted]"`, string(data))
	var buf bytes.Buffer
	require.NoError(t, gob.NewEncoder(&buf).Encode(secret))
	require.NotContains(t, buf.String(), mark)
	require.NotContains(t, fmt.Sprint(fmt.Errorf("wrapped: %v", secret)), mark)
	require.Equal(t, mark, secret.Reveal())
}

func TestSecretEqual(t *testing.T) {
	secret := config.NewSecret("abc")
	require.True(t, secret.Equal("abc"))
	require.False(t, secret.Equal("abd"))
	require.False(t, secret.Equal("ab"))
	require.False(t, secret.Equal(""))
	require.False(t, config.Secret{}.Equal(""))
	require.False(t, config.NewSecret("").IsSet())
}
