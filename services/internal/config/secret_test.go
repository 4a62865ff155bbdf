package config_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/config"
)

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

// Anyone who has the hash of a secret can check it and cannot show it.
func TestAHashStandsForASecret(t *testing.T) {
	hashed, err := config.NewSecret(config.Hashed("the secret")).OrHash()
	require.NoError(t, err)
	require.True(t, hashed.IsSet())
	require.True(t, hashed.Equal("the secret"))
	for _, wrong := range []string{"", "another", hashed.Reveal(), strings.TrimPrefix(hashed.Reveal(), "sha256:")} {
		require.False(t, hashed.Equal(wrong), wrong)
	}
	plain, err := config.NewSecret("the secret").OrHash()
	require.NoError(t, err)
	require.True(t, plain.Equal("the secret"))
	_, err = config.NewSecret("sha256:abc").OrHash()
	require.ErrorContains(t, err, "64 hexadecimal digits")
}
