package identity_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/manager/internal/identity"
)

func TestIdentitySurvivesARestart(t *testing.T) {
	root := t.TempDir()
	first, err := identity.Open(root, "")
	require.NoError(t, err)
	token := first.RunToken("r1")
	require.NoError(t, first.Close())

	second, err := identity.Open(root, "")
	require.NoError(t, err)
	defer second.Close()
	require.Equal(t, first.WorkerID, second.WorkerID)
	runID, err := second.VerifyRunToken(token)
	require.NoError(t, err)
	require.Equal(t, "r1", runID)

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

	runID := uuid.NewString()
	token := a.RunToken(runID)
	require.True(t, strings.HasPrefix(token, "prt_"+runID+"."))
	require.NotEqual(t, a.ExecutorToken("x"), a.ExecutorToken("y"))
	for name, bad := range map[string]string{
		"empty":             "",
		"no prefix":         token[4:],
		"cut":               token[:len(token)-1],
		"of another run":    "prt_" + uuid.NewString() + token[4+len(runID):],
		"of another worker": b.RunToken(runID),
		"executor token":    a.ExecutorToken(runID),
		"no mac":            "prt_" + runID,
	} {
		_, err := a.VerifyRunToken(bad)
		require.ErrorIs(t, err, identity.ErrBadToken, name)
	}
}
