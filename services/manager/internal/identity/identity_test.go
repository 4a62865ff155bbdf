package identity_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/agents"
	"github.com/poco-ai/poco/services/manager/internal/identity"
)

func TestIdentitySurvivesARestart(t *testing.T) {
	root := t.TempDir()
	first, err := identity.Open(root, "")
	require.NoError(t, err)
	attempt := identity.Attempt{RunID: "r1", Number: 2}
	token := first.ChannelToken(attempt)
	require.NoError(t, first.Close())

	second, err := identity.Open(root, "")
	require.NoError(t, err)
	defer second.Close()
	require.Equal(t, first.WorkerID, second.WorkerID)
	verified, err := second.VerifyChannelToken(token)
	require.NoError(t, err)
	require.Equal(t, attempt, verified)

	info, err := os.Stat(filepath.Join(root, ".worker", "key"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestOneManagerPerRoot(t *testing.T) {
	root := t.TempDir()
	first, err := identity.Open(root, "")
	require.NoError(t, err)
	_, err = identity.Open(root, "")
	require.ErrorIs(t, err, identity.ErrInUse)
	require.ErrorContains(t, err, root)
	require.NoError(t, first.Close())
	again, err := identity.Open(root, "named")
	require.NoError(t, err)
	require.Equal(t, "named", again.WorkerID)
	require.NoError(t, again.Close())
}

func TestTokens(t *testing.T) {
	a, err := identity.Open(t.TempDir(), "")
	require.NoError(t, err)
	defer a.Close()
	b, err := identity.Open(t.TempDir(), "")
	require.NoError(t, err)
	defer b.Close()

	run := uuid.NewString()
	attempt := identity.Attempt{RunID: run, Number: 2}
	require.NotEqual(t, a.ExecutorToken("x"), a.ExecutorToken("y"))
	channel, model := a.ChannelToken(attempt), a.ModelToken(agents.Anthropic, attempt)
	require.True(t, strings.HasPrefix(channel, "pct_"+run+".2."))
	require.True(t, strings.HasPrefix(model, "pmt_"+run+".2."))
	mac := channel[strings.LastIndex(channel, ".")+1:]
	for name, bad := range map[string]string{
		"empty":                  "",
		"no prefix":              channel[4:],
		"cut":                    channel[:len(channel)-1],
		"of another run":         "pct_" + uuid.NewString() + ".2." + mac,
		"of another attempt":     "pct_" + run + ".3." + mac,
		"written in another way": "pct_" + run + ".02." + mac,
		"of another worker":      b.ChannelToken(attempt),
		"for the model":          model,
		"for the model, renamed": "pct_" + model[4:],
		"for an executor":        a.ExecutorToken(run),
		"no mac":                 "pct_" + run + ".2",
	} {
		_, err := a.VerifyChannelToken(bad)
		require.ErrorIs(t, err, identity.ErrBadToken, name)
	}
	_, err = a.VerifyModelToken(agents.Anthropic, channel)
	require.ErrorIs(t, err, identity.ErrBadToken)
	_, err = a.VerifyModelToken(agents.OpenAI, model)
	require.ErrorIs(t, err, identity.ErrBadToken, "of another API")
	_, err = a.VerifyModelToken(agents.OpenAI, "pmo_"+model[4:])
	require.ErrorIs(t, err, identity.ErrBadToken, "of another API, renamed")
	got, err := a.VerifyModelToken(agents.Anthropic, model)
	require.NoError(t, err)
	require.Equal(t, attempt, got)
}
