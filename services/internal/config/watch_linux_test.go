package config_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/testkit/output"
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

// TestWatchAFolderInTwoPlaces mounts one folder twice, as containers do with a
// volume of secrets: the kernel knows one folder only.
func TestWatchAFolderInTwoPlaces(t *testing.T) {
	requireRoot(t)
	dir := t.TempDir()
	here, there := filepath.Join(dir, "here"), filepath.Join(dir, "there")
	require.NoError(t, os.Mkdir(here, 0o755))
	require.NoError(t, os.Mkdir(there, 0o755))
	if err := syscall.Mount(here, there, "", syscall.MS_BIND, ""); err != nil {
		t.Skip("nothing can be mounted here: ", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(there, syscall.MNT_DETACH)) })
	token := filepath.Join(here, "token")
	rewrite(t, token, "first")
	rewrite(t, filepath.Join(here, "key"), "s3-value")
	w := watch(t, config.Sources{Environ: append(without(backendEnv(), "INTERNAL_API_TOKEN", "S3_SECRET_KEY"),
		"INTERNAL_API_TOKEN_FILE="+token, "S3_SECRET_KEY_FILE="+filepath.Join(there, "key"))})
	rewrite(t, token, "second")
	w.await(t, "INFO second")
	rewrite(t, filepath.Join(there, "token"), "third")
	w.await(t, "INFO third")
}

// TestFolderThatCannotBeWatchedIsSaidOnce: the log may be in a folder that is
// watched, and a line about each look would make the next.
func TestFolderThatCannotBeWatchedIsSaidOnce(t *testing.T) {
	requireRoot(t)
	dir := open(t)
	hidden := filepath.Join(dir, "hidden")
	require.NoError(t, os.Mkdir(hidden, 0o711))
	token, dotEnv := filepath.Join(hidden, "token"), filepath.Join(dir, ".env")
	require.NoError(t, os.WriteFile(token, []byte("token-value"), 0o644))
	require.NoError(t, os.WriteFile(dotEnv, nil, 0o644))
	l := loadBackend(t, config.Sources{Environ: append(without(backendEnv(), "INTERNAL_API_TOKEN"), "INTERNAL_API_TOKEN_FILE="+token), DotEnvPath: dotEnv})
	w := &watched{backendConfig: l, levels: make(chan string, 100), log: &output.Buffer{}}
	w.tell()
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() {
		asNobody(func() {
			l.Watch(ctx, slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
		})
	})
	for _, level := range []string{"DEBUG", "ERROR", "WARNING"} {
		require.NoError(t, os.WriteFile(dotEnv, []byte("LOG_LEVEL="+level+"\n"), 0o644))
		w.await(t, level+" token-value")
	}
	cancel()
	watching.Wait()
	require.Equal(t, 1, strings.Count(w.log.String(), "cannot be watched"), w.log.String())
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
