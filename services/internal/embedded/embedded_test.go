package embedded_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/durationpb"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/embedded"
	"github.com/poco-ai/poco/services/internal/objectstore"
)

const parentVariable = "POCO_TEST_EMBEDDED_PARENT"

// TestMain is also the parent that TestServersEndWithTheirParent kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv(parentVariable); dir != "" {
		if err := parent(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

type addresses struct{ Postgres, S3 string }

// parent starts both servers, says where they are, and waits to be killed.
func parent(dir string) error {
	pg, err := embedded.StartPostgres(context.Background(), embedded.PostgresOptions{DataDir: dir + "/pg", Password: "p", Disposable: true})
	if err != nil {
		return err
	}
	s3, err := embedded.StartS3(context.Background(), embedded.S3Options{DataDir: dir + "-s3", AccessKey: "access", SecretKey: "secret", Disposable: true})
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(addresses{
		Postgres: fmt.Sprintf("127.0.0.1:%d", pg.Port()), S3: fmt.Sprintf("127.0.0.1:%d", s3.Port()),
	}); err != nil {
		return err
	}
	select {}
}

// dataDir is a folder that every user can pass; t.TempDir is not.
func dataDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "poco-test-embedded-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o777))
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	if err := embedded.CheckDataDir(filepath.Join(dir, "x")); err != nil {
		t.Skip(err)
	}
	return dir
}

func needPostgres(t *testing.T) {
	t.Helper()
	if _, err := embedded.FindPostgres(); err != nil {
		missing(t, err)
	}
}

func needS3(t *testing.T) {
	t.Helper()
	if _, err := embedded.FindS3(t.Context()); err != nil {
		missing(t, err)
	}
}

// missing is testkit.Missing, which cannot be imported from below.
func missing(t *testing.T, err error) {
	t.Helper()
	if os.Getenv("POCO_TEST_REQUIRE_ALL") == "1" {
		t.Fatal(err)
	}
	t.Skip(err)
}

func TestServersEndWithTheirParent(t *testing.T) {
	needPostgres(t)
	needS3(t)
	dir := dataDir(t)
	program, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), parentVariable+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadBytes('\n')
	require.NoError(t, err)
	var at addresses
	require.NoError(t, json.Unmarshal(line, &at))

	// A connection of each tells when its server ends.
	var conns []net.Conn
	for _, addr := range []string{at.Postgres, at.S3} {
		conn, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		defer conn.Close()
		conns = append(conns, conn)
	}
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	for _, conn := range conns {
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(30*time.Second)))
		_, err := conn.Read(make([]byte, 1))
		require.Error(t, err)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the server is still there")
	}
}

func TestPostgresKeepsItsData(t *testing.T) {
	needPostgres(t)
	var steps []string
	opts := embedded.PostgresOptions{
		DataDir: filepath.Join(dataDir(t), "data"), Password: "p w/@:", Database: `odd "name"`,
		Progress: func(line string) { steps = append(steps, line) },
	}
	for round := range 2 {
		pg, err := embedded.StartPostgres(t.Context(), opts)
		require.NoError(t, err)
		conn, err := pgx.Connect(t.Context(), pg.URL())
		require.NoError(t, err)
		if round == 0 {
			_, err = conn.Exec(t.Context(), "CREATE TABLE kept AS SELECT 7 AS n")
			require.NoError(t, err)
		}
		var n int
		var database, encoding string
		require.NoError(t, conn.QueryRow(t.Context(), "SELECT n, current_database(), current_setting('server_encoding') FROM kept").Scan(&n, &database, &encoding))
		require.Equal(t, []any{7, `odd "name"`, "UTF8"}, []any{n, database, encoding})
		require.NoError(t, conn.Close(t.Context()))

		wrong, err := pgx.ParseConfig(pg.URL())
		require.NoError(t, err)
		wrong.Password = "wrong"
		_, err = pgx.ConnectConfig(t.Context(), wrong)
		require.ErrorContains(t, err, "password authentication failed")

		done := pg.Done()
		require.NoError(t, pg.Stop(t.Context()))
		<-done
		require.NoError(t, pg.Stop(t.Context()), "a second stop does nothing")
	}
	require.Len(t, steps, 1, "the cluster is made once")
}

func TestPostgresThatCannotStart(t *testing.T) {
	needPostgres(t)
	dir := dataDir(t)
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer busy.Close()
	full := filepath.Join(dir, "full")
	require.NoError(t, os.Mkdir(full, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(full, "x"), nil, 0o600))
	newer := filepath.Join(dir, "newer")
	require.NoError(t, os.Mkdir(newer, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(newer, "PG_VERSION"), []byte("999\n"), 0o600))
	canceled, cancel := context.WithCancel(t.Context())
	cancel()

	tests := map[string]struct {
		ctx  context.Context
		opts embedded.PostgresOptions
		says string
	}{
		"busy port":     {t.Context(), embedded.PostgresOptions{DataDir: dir + "/a", Password: "p", Port: busy.Addr().(*net.TCPAddr).Port}, busy.Addr().String() + " is already in use"},
		"another's":     {t.Context(), embedded.PostgresOptions{DataDir: full, Password: "p"}, "the folder holds something else"},
		"newer cluster": {t.Context(), embedded.PostgresOptions{DataDir: newer, Password: "p"}, "it was made by Postgres 999"},
		"no programs":   {t.Context(), embedded.PostgresOptions{DataDir: dir + "/b", Password: "p", BinDir: dir}, "no Postgres server is installed"},
		"no password":   {t.Context(), embedded.PostgresOptions{DataDir: dir + "/c"}, "needs a data folder and a password"},
		"canceled":      {canceled, embedded.PostgresOptions{DataDir: dir + "/d", Password: "p"}, "context canceled"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := embedded.StartPostgres(test.ctx, test.opts)
			require.ErrorContains(t, err, test.says)
		})
	}
}

func TestPostgresLogIsShownWhenItEnds(t *testing.T) {
	needPostgres(t)
	opts := embedded.PostgresOptions{DataDir: filepath.Join(dataDir(t), "data"), Password: "p"}
	pg, err := embedded.StartPostgres(t.Context(), opts)
	require.NoError(t, err)
	require.NoError(t, pg.Stop(t.Context()))
	f, err := os.OpenFile(filepath.Join(opts.DataDir, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString("no_such_setting = 1\n")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	_, err = embedded.StartPostgres(t.Context(), opts)
	require.ErrorContains(t, err, "no_such_setting")
}

func TestRootNeedsAPassableFolder(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root runs Postgres as another user")
	}
	dir := dataDir(t)
	require.NoError(t, os.Chmod(dir, 0o700))
	require.ErrorContains(t, embedded.CheckDataDir(filepath.Join(dir, "x")), "cannot pass the folder "+dir)
}

func TestS3KeepsItsData(t *testing.T) {
	needS3(t)
	opts := embedded.S3Options{DataDir: filepath.Join(t.TempDir(), "s3"), AccessKey: "access", SecretKey: "s3cr3t-mark"}
	s3, err := embedded.StartS3(t.Context(), opts)
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(s3.Endpoint())
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusForbidden, res.StatusCode, "it asks for the keys")
	arguments, err := exec.Command("ps", "-eo", "args").Output()
	if err == nil {
		require.NotContains(t, string(arguments), "s3cr3t-mark")
	}
	_, err = embedded.StartS3(t.Context(), embedded.S3Options{DataDir: opts.DataDir + "2", AccessKey: "a", SecretKey: "s", Port: s3.Port()})
	require.ErrorContains(t, err, "is already in use")
	require.NoError(t, s3.Stop(t.Context()))
	<-s3.Done()

	opts.Port = s3.Port()
	again, err := embedded.StartS3(t.Context(), opts)
	require.NoError(t, err)
	require.Equal(t, s3.Endpoint(), again.Endpoint())
	require.NoError(t, again.Stop(t.Context()))
}

// The server asks for signatures of the region that the services are set to.
func TestS3Region(t *testing.T) {
	needS3(t)
	const region = "eu-central-1"
	s3, err := embedded.StartS3(t.Context(), embedded.S3Options{
		DataDir: filepath.Join(t.TempDir(), "s3"), AccessKey: "access", SecretKey: "secret", Region: region,
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, s3.Stop(context.Background())) }()
	store, err := objectstore.New(t.Context(), &configv1.ObjectStoreConfig{
		Endpoint: s3.Endpoint(), Bucket: "poco", Region: region, ForcePathStyle: true, MaxAttempts: 1,
		ConnectTimeout: durationpb.New(time.Minute), ReadTimeout: durationpb.New(time.Minute),
	}, config.NewSecret("access"), config.NewSecret("secret"))
	require.NoError(t, err)
	defer store.Close()
	require.NoError(t, store.EnsureBucket(t.Context()))
	require.NoError(t, store.Put(t.Context(), "key", "", strings.NewReader("x"), 1))
}

func TestNoS3Server(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	t.Setenv("GOPATH", "")
	t.Setenv("GOBIN", "")
	_, err := embedded.FindS3(t.Context())
	require.ErrorIs(t, err, embedded.ErrNoS3)
	_, err = embedded.StartS3(t.Context(), embedded.S3Options{DataDir: t.TempDir(), AccessKey: "a", SecretKey: "s", BinDir: t.TempDir()})
	require.ErrorContains(t, err, "there is no Go to build it with")
}
