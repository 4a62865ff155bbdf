package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// ErrNoPostgres means that no Postgres programs are installed and none may be
// downloaded.
var ErrNoPostgres = errors.New("no Postgres server is installed (Debian: apt-get install postgresql)")

// downloadVersion is the Postgres that is fetched when none is installed.
const downloadVersion = embeddedpostgres.V16

// FindPostgres returns the folder of installed server programs, the newest of
// those found, or ErrNoPostgres.
func FindPostgres() (string, error) { return firstPostgres(postgresFolders(), nil) }

// FetchPostgres returns the folder of the server programs: of installed ones, or
// of those it downloads into dir.
func FetchPostgres(ctx context.Context, dir string, progress Progress) (string, error) {
	return findPostgres(ctx, PostgresOptions{DownloadDir: dir, Progress: progress})
}

func findPostgres(ctx context.Context, opts PostgresOptions) (string, error) {
	if opts.BinDir != "" {
		return firstPostgres([]string{opts.BinDir}, nil)
	}
	var fits func(string) bool
	if have, err := clusterVersion(opts.DataDir); err == nil {
		fits = func(bin string) bool {
			got, err := serverVersion(ctx, bin)
			return err == nil && got == have
		}
	}
	folders := postgresFolders()
	if opts.DownloadDir != "" {
		folders = append(folders, filepath.Join(opts.DownloadDir, "bin"))
	}
	if bin, err := firstPostgres(folders, fits); err == nil {
		return bin, nil
	}
	if opts.DownloadDir != "" {
		bin, err := downloadPostgres(ctx, opts)
		if err == nil {
			return bin, nil
		}
		return "", errors.Join(ErrNoPostgres, err)
	}
	// One of the wrong version is better than none: the message will say so.
	return firstPostgres(folders, nil)
}

func firstPostgres(folders []string, fits func(string) bool) (string, error) {
	for _, dir := range folders {
		if isExecutable(filepath.Join(dir, "postgres")) && isExecutable(filepath.Join(dir, "initdb")) && (fits == nil || fits(dir)) {
			return dir, nil
		}
	}
	return "", ErrNoPostgres
}

// postgresFolders are the places where installed server programs are found.
func postgresFolders() []string {
	var folders []string
	if path, err := exec.LookPath("postgres"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			folders = append(folders, filepath.Dir(real))
		}
	}
	var versioned []string
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin", // Debian
		"/usr/pgsql-*/bin",          // Red Hat, from postgresql.org
		"/opt/homebrew/opt/postgresql*/bin",
		"/usr/local/opt/postgresql*/bin",
		"/usr/local/pgsql/bin",
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			continue // only for a malformed pattern
		}
		versioned = append(versioned, found...)
	}
	slices.SortStableFunc(versioned, func(a, b string) int { return cmp.Compare(versionIn(b), versionIn(a)) })
	return append(folders, versioned...)
}

// versionIn returns the major version in a folder's name, 0 when it has none.
func versionIn(dir string) int {
	digits := strings.FieldsFunc(dir, func(r rune) bool { return r < '0' || r > '9' })
	if len(digits) == 0 {
		return 0
	}
	n, err := strconv.Atoi(digits[0])
	if err != nil {
		return 0
	}
	return n
}

func isExecutable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// downloadPostgres fetches the programs from Maven Central. The library fetches
// only as part of a start, so it starts a throw-away cluster; as root that
// start fails after the programs are in place, which is all that is wanted.
func downloadPostgres(ctx context.Context, opts PostgresOptions) (string, error) {
	opts.Progress.tell("no Postgres is installed: downloading Postgres %s (about 30 MB)", downloadVersion)
	if err := os.MkdirAll(opts.DownloadDir, 0o755); err != nil {
		return "", err
	}
	scratch, err := os.MkdirTemp(opts.DownloadDir, "scratch-")
	if err != nil {
		return "", err
	}
	port, err := choosePort(ctx, 0, loopback)
	if err != nil {
		return "", err
	}
	server := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		Version(downloadVersion).
		Port(uint32(port)).
		BinariesPath(opts.DownloadDir).
		CachePath(filepath.Join(opts.DownloadDir, "cache")).
		RuntimePath(scratch).
		DataPath(filepath.Join(scratch, "data")).
		StartTimeout(time.Minute))
	ended := make(chan error, 1)
	go func() {
		err := server.Start()
		if err == nil {
			err = server.Stop()
		}
		ended <- errors.Join(err, os.RemoveAll(scratch))
	}()
	select {
	case err = <-ended:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	bin := filepath.Join(opts.DownloadDir, "bin")
	if !isExecutable(filepath.Join(bin, "postgres")) {
		return "", fmt.Errorf("download Postgres: %w", err)
	}
	opts.Progress.tell("Postgres %s is in %s", downloadVersion, bin)
	return bin, nil
}
