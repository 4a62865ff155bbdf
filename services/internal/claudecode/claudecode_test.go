package claudecode

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/poco-ai/poco/services/internal/npm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeNPM puts an npm on PATH that makes a package like the real one and
// appends a line to the returned file each time it runs.
func fakeNPM(t *testing.T, script string) string {
	t.Helper()
	bin := t.TempDir()
	calls := filepath.Join(bin, "calls")
	t.Setenv("CALLS", calls)
	require.NoError(t, os.WriteFile(filepath.Join(bin, "npm"), []byte("#!/bin/sh\necho called >> \"$CALLS\"\n"+script), 0o755))
	t.Setenv("PATH", bin+":/usr/bin:/bin")
	return calls
}

const installsWrapper = `while [ "$1" != --prefix ]; do shift; done
mkdir -p "$2/node_modules/.bin"
echo "fetching"
printf '#!/bin/sh\necho "2.1.197 (Claude Code)"\n' > "$2/node_modules/.bin/claude"
chmod +x "$2/node_modules/.bin/claude"
`

func TestFindOrder(t *testing.T) {
	dir := t.TempDir()
	executable := func(elem ...string) string {
		path := filepath.Join(append([]string{dir}, elem...)...)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755))
		return path
	}
	t.Setenv("PATH", filepath.Join(dir, "bin"))

	_, err := Find("", dir)
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorContains(t, err, PathSetting)
	require.ErrorContains(t, err, InstallCommand())

	onPath := executable("bin", "claude")
	got, err := Find("", dir)
	require.NoError(t, err)
	require.Equal(t, onPath, got)

	installed := executable("claude-code", Version, "node_modules", ".bin", "claude")
	got, err = Find("", dir)
	require.NoError(t, err)
	require.Equal(t, installed, got)

	explicit := executable("own")
	got, err = Find(explicit, dir)
	require.NoError(t, err)
	require.Equal(t, explicit, got)

	_, err = Find(filepath.Join(dir, "missing"), dir)
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorContains(t, err, PathSetting)
}

func TestInstallOnceForMany(t *testing.T) {
	calls := fakeNPM(t, installsWrapper)
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			path, err := Install(context.Background(), dir, nil)
			if err != nil || path == "" {
				t.Errorf("Install: %q, %v", path, err)
			}
		})
	}
	wg.Wait()
	logged, err := os.ReadFile(calls)
	require.NoError(t, err)
	require.Equal(t, "called\n", string(logged), "npm must run once")

	path, err := Find("", dir)
	require.NoError(t, err)
	version, err := CheckVersion(context.Background(), path)
	require.NoError(t, err)
	require.Equal(t, Version, version)
}

func TestInstallFailureLeavesNothing(t *testing.T) {
	fakeNPM(t, "echo 'npm error 404 not found' >&2\nexit 1\n")
	dir := t.TempDir()
	var lines []string
	_, err := Install(context.Background(), dir, func(line string) { lines = append(lines, line) })
	require.ErrorContains(t, err, "404 not found")
	require.Contains(t, lines, "npm: npm error 404 not found")
	entries, err := filepath.Glob(filepath.Join(dir, "claude-code", "*"))
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(dir, "claude-code", Version+".lock")}, entries)
}

// npm trusts what this machine's other programs do, or the failure says whom it
// would trust.
func TestInstallFromWhoIsNotTrusted(t *testing.T) {
	t.Setenv("SSL_CERT_FILE", "/authorities.pem")
	t.Setenv("NODE_EXTRA_CA_CERTS", "")
	fakeNPM(t, "echo \"trusts $NODE_EXTRA_CA_CERTS, SELF_SIGNED_CERT_IN_CHAIN\" >&2\nexit 1\n")
	_, err := Install(context.Background(), t.TempDir(), nil)
	require.ErrorContains(t, err, "trusts /authorities.pem")
	require.ErrorContains(t, err, "SSL_CERT_FILE names the authorities")
}

func TestInstallWithoutNPM(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Install(context.Background(), t.TempDir(), nil)
	require.ErrorIs(t, err, npm.ErrNoNPM)
}

func TestInstallCanceled(t *testing.T) {
	fakeNPM(t, "trap 'exit 130' INT\necho started\nwhile :; do sleep 0.1; done\n")
	ctx, cancel := context.WithCancel(context.Background())
	_, err := Install(ctx, t.TempDir(), func(line string) {
		if line == "npm: started" {
			cancel()
		}
	})
	require.ErrorIs(t, err, context.Canceled)
}
