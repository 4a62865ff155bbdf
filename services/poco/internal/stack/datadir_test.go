package stack

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/poco/internal/localstack"
)

// testDataDir is below a folder that every user can pass: Postgres's may be
// another than the test's.
func testDataDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "poco-stack-") //nolint:usetesting // t.TempDir is closed to other users
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o711))
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return filepath.Join(dir, "data")
}

func TestSecretsAreMadeOnceAndPrivate(t *testing.T) {
	dir, err := openDataDir(testDataDir(t))
	require.NoError(t, err)
	first, err := dir.secrets()
	require.NoError(t, err)
	require.NotEqual(t, first.SecretKey, first.InternalAPIToken)
	require.GreaterOrEqual(t, len(first.InternalAPIToken), 40)

	info, err := os.Stat(dir.in("secrets.json"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	info, err = os.Stat(dir.path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o711), info.Mode().Perm(), "others may pass, not list")

	require.NoError(t, os.Chmod(dir.in("secrets.json"), 0o644))
	again, err := dir.secrets()
	require.NoError(t, err)
	require.Equal(t, first, again)
	info, err = os.Stat(dir.in("secrets.json"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "opened by hand, closed again")
	require.NoError(t, dir.release(true))
}

func TestDamagedSecretsAreNotReplaced(t *testing.T) {
	dir, err := openDataDir(testDataDir(t))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(dir.in("secrets.json"), []byte(`{"SECRET_KEY":"only one"}`), 0o600))
	_, err = dir.secrets()
	require.ErrorContains(t, err, "lacks a secret")
	require.NotContains(t, err.Error(), "only one")
	require.NoError(t, os.WriteFile(dir.in("secrets.json"), []byte(`{`), 0o600))
	_, err = dir.secrets()
	require.ErrorContains(t, err, "not readable")
	require.NoError(t, dir.release(true))
}

func TestDataDirBelongsToOneProcess(t *testing.T) {
	path := testDataDir(t)
	dir, err := openDataDir(path)
	require.NoError(t, err)
	require.False(t, dir.unclean)
	require.NoError(t, dir.occupy(localstack.Occupant{URL: "http://localhost:3000"}))
	_, err = openDataDir(path)
	require.ErrorContains(t, err, "http://localhost:3000")
	require.ErrorContains(t, err, "--data-dir")

	require.NoError(t, dir.release(false)) // as if killed
	dir, err = openDataDir(path)
	require.NoError(t, err)
	require.True(t, dir.unclean)
	require.NoError(t, dir.release(true))
	dir, err = openDataDir(path)
	require.NoError(t, err)
	require.False(t, dir.unclean)
	require.NoError(t, dir.release(true))
}

func TestDefaultDataDir(t *testing.T) {
	dir, err := DefaultDataDir("/elsewhere")
	require.NoError(t, err)
	if os.Geteuid() == 0 {
		require.Equal(t, "/var/lib/poco", dir)
	} else {
		require.Equal(t, "/elsewhere/poco", dir)
	}
}
