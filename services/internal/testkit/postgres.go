package testkit

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/poco-ai/poco/services/internal/embedded"
)

// databaseVariable names a running server.
const databaseVariable = "POCO_TEST_DATABASE_URL"

// Postgres returns the URL of a database on a server that this test process
// shares, with the right to create databases. POCO_TEST_DATABASE_URL names a
// running one instead. Without any, the test is skipped, or fails when
// POCO_TEST_REQUIRE_ALL=1.
func Postgres(t testing.TB) string {
	t.Helper()
	if url := os.Getenv(databaseVariable); url != "" {
		return url
	}
	server, err := sharedPostgres()
	if errors.Is(err, embedded.ErrNoPostgres) {
		Missing(t, "needs Postgres: %v, or set %s", err, databaseVariable)
	}
	if err != nil {
		t.Fatalf("start Postgres: %v", err)
	}
	return server.URL()
}

// sharedPostgres is stopped by nobody: it ends, and its files are removed, when
// the test process ends.
var sharedPostgres = sync.OnceValues(func() (*embedded.Postgres, error) {
	return embedded.StartPostgres(context.Background(), embedded.PostgresOptions{
		DataDir:    disposableDir("pg"),
		Password:   rand.Text(),
		Disposable: true,
	})
})

// OwnPostgres starts a server for one test, which may stop, crash and restart
// it. Its data is kept until the test ends.
func OwnPostgres(t testing.TB) (*embedded.Postgres, embedded.PostgresOptions) {
	t.Helper()
	return OwnPostgresWith(t, rand.Text())
}

// OwnPostgresWith is OwnPostgres with a password of the test's choice.
func OwnPostgresWith(t testing.TB, password string) (*embedded.Postgres, embedded.PostgresOptions) {
	t.Helper()
	dir := disposableDir("own-pg")
	opts := embedded.PostgresOptions{DataDir: filepath.Join(dir, "data"), Password: password, Port: FreePort(t)}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the data of Postgres: %v", err)
		}
	})
	server, err := embedded.StartPostgres(t.Context(), opts)
	if errors.Is(err, embedded.ErrNoPostgres) {
		Missing(t, "needs Postgres: %v", err)
	}
	if err != nil {
		t.Fatalf("start Postgres: %v", err)
	}
	t.Cleanup(func() {
		if err := server.Stop(context.Background()); err != nil {
			t.Errorf("stop Postgres: %v", err)
		}
	})
	return server, opts
}

// disposableDir returns a path, not made yet, in a folder that any user can
// pass, because as root the server runs as another one.
func disposableDir(kind string) string {
	name := "poco-test-" + kind + "-" + rand.Text()
	for _, parent := range []string{os.TempDir(), "/tmp", "/var/tmp"} {
		if embedded.CheckDataDir(filepath.Join(parent, name)) == nil {
			return filepath.Join(parent, name)
		}
	}
	return filepath.Join(os.TempDir(), name)
}
