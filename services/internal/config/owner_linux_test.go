package config_test

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/config"
)

// nobody is a user without rights.
const nobody = 65534

func requireRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount and be somebody else")
	}
}

// asNobody calls a function with a stranger's access to files.
func asNobody(f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_ = syscall.Setfsuid(nobody) // it tells the user before, not an error
	defer func() { _ = syscall.Setfsuid(0) }()
	f()
}

// open makes a folder that everyone can get to.
func open(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	require.NoError(t, os.Chmod(dir, 0o755))
	return dir
}

// TestFileWhoseOwnerIsCorrected: only its owner kept the file from being read,
// which neither its time nor its size tells.
func TestFileWhoseOwnerIsCorrected(t *testing.T) {
	requireRoot(t)
	dir := open(t)
	dotEnv := filepath.Join(dir, ".env")
	token := filepath.Join(dir, "token")
	for path, content := range map[string]string{token: "first", dotEnv: "LOG_LEVEL=ERROR\n"} {
		rewrite(t, path, content)
		require.NoError(t, os.Chown(path, nobody, nobody))
	}
	var l *backendConfig
	look := func() { asNobody(func() { l.Refresh() }) }
	asNobody(func() {
		l = loadBackend(t, config.Sources{
			Environ: append(without(backendEnv(), "INTERNAL_API_TOKEN"), "INTERNAL_API_TOKEN_FILE="+token), DotEnvPath: dotEnv,
		})
	})
	for path, content := range map[string]string{token: "second", dotEnv: "LOG_LEVEL=DEBUG\n"} {
		rewrite(t, path+"~", content)
		require.NoError(t, os.Chtimes(path+"~", time.Time{}, time.Now().Add(-time.Hour))) // it is not new
		require.NoError(t, os.Rename(path+"~", path))
		look()
		require.NotEmpty(t, findings(l, config.FindingReloadRefused))
		require.NoError(t, os.Chown(path, nobody, nobody))
		look()
		require.Empty(t, findings(l, config.FindingReloadRefused))
	}
	require.Equal(t, "second", l.Secret("INTERNAL_API_TOKEN").Reveal())
	require.Equal(t, "DEBUG", l.Current().GetLogging().GetLevel())
}
