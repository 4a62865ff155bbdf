// Package embedded runs the servers Poco needs as child processes: Postgres and
// an S3 server. The children end with this process, however it ends.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// startTimeout bounds the start of a server, crash recovery included.
	startTimeout = 2 * time.Minute
	// portAttempts is how often another free port is tried.
	portAttempts = 5
	loopback     = "127.0.0.1"
)

// Progress is told what takes long, one line a step; nil is allowed.
type Progress func(line string)

func (p Progress) tell(format string, args ...any) {
	if p != nil {
		p(fmt.Sprintf(format, args...))
	}
}

// PostgresOptions describes a Postgres server.
type PostgresOptions struct {
	// DataDir holds the cluster; it is created when missing and kept. As root
	// it must be under folders that every user can pass.
	DataDir string
	// Port on 127.0.0.1; 0 takes a free one.
	Port int
	// User is the superuser; default "poco".
	User string
	// Password of the superuser; required. It is set when DataDir is created.
	Password string
	// Database is created when missing; default "poco".
	Database string
	// LogPath receives the server's log; default DataDir + ".log".
	LogPath string
	// BinDir is where the server's programs are; default: looked for.
	BinDir string
	// DownloadDir receives the programs when none are installed; empty forbids
	// the download.
	DownloadDir string
	// Disposable trades durability for speed and removes DataDir at the end.
	// For tests.
	Disposable bool
	// Progress is told about the slow steps.
	Progress Progress
}

func (o *PostgresOptions) complete() error {
	if o.DataDir == "" || o.Password == "" {
		return errors.New("embedded Postgres needs a data folder and a password")
	}
	dir, err := filepath.Abs(o.DataDir)
	if err != nil {
		return err
	}
	o.DataDir = dir
	if o.User == "" {
		o.User = "poco"
	}
	if o.Database == "" {
		o.Database = "poco"
	}
	if o.LogPath == "" {
		o.LogPath = o.DataDir + ".log"
	}
	return nil
}

// Postgres is a running server.
type Postgres struct {
	opts  PostgresOptions
	port  int
	child *child
}

// StartPostgres starts a server and returns when it accepts connections. The
// server outlives ctx; end it with Stop.
func StartPostgres(ctx context.Context, opts PostgresOptions) (*Postgres, error) {
	if err := opts.complete(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	acct, err := serverAccount()
	if err != nil {
		return nil, err
	}
	// Said before anything slow is done; it is looked at again at the start.
	if _, err := choosePort(ctx, opts.Port, loopback); err != nil {
		return nil, fmt.Errorf("start Postgres: %w", err)
	}
	bin, err := findPostgres(ctx, opts)
	if err != nil {
		return nil, err
	}
	if err := prepareCluster(ctx, opts, bin, acct); err != nil {
		return nil, fmt.Errorf("prepare the Postgres data folder %s: %w", opts.DataDir, err)
	}
	for attempt := 1; ; attempt++ {
		p, err := launchPostgres(ctx, opts, bin, acct)
		// A free port may be taken by the time the server binds it.
		if err != nil && opts.Port == 0 && attempt < portAttempts && strings.Contains(err.Error(), "Address already in use") {
			continue
		}
		return p, err
	}
}

func launchPostgres(ctx context.Context, opts PostgresOptions, bin string, acct *account) (*Postgres, error) {
	port, err := choosePort(ctx, opts.Port, loopback)
	if err != nil {
		return nil, fmt.Errorf("start Postgres: %w", err)
	}
	before := fileSize(opts.LogPath)
	remove := ""
	if opts.Disposable {
		remove = opts.DataDir
	}
	c, err := startChild(childSpec{ // the server outlives ctx
		name:    "Postgres",
		argv:    append([]string{filepath.Join(bin, "postgres")}, postgresArgs(opts, port)...),
		env:     []string{"LC_ALL=C", "TZ=UTC"},
		signal:  "INT", // fast shutdown
		remove:  remove,
		logPath: opts.LogPath,
		dir:     opts.DataDir,
		account: acct,
	})
	if err != nil {
		return nil, err
	}
	p := &Postgres{opts: opts, port: port, child: c}
	if err := c.waitReady(ctx, p.ping); err != nil {
		if errors.Is(err, errEnded) {
			return nil, fmt.Errorf("Postgres ended while starting; the end of %s:\n%s", opts.LogPath, lastLines(opts.LogPath, before))
		}
		return nil, errors.Join(err, p.Stop(context.WithoutCancel(ctx)))
	}
	if err := p.createDatabase(ctx); err != nil {
		return nil, errors.Join(err, p.Stop(context.WithoutCancel(ctx)))
	}
	return p, nil
}

func postgresArgs(opts PostgresOptions, port int) []string {
	settings := []string{
		"listen_addresses=" + loopback,
		"port=" + strconv.Itoa(port),
		"unix_socket_directories=",
		"max_connections=200",
		"jit=off",
		"log_timezone=UTC",
		"timezone=UTC",
	}
	if opts.Disposable {
		settings = append(settings, "fsync=off", "synchronous_commit=off", "full_page_writes=off",
			"wal_level=minimal", "max_wal_senders=0", "max_connections=500")
	}
	args := []string{"-D", opts.DataDir}
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	return args
}

// ping succeeds when the server accepts connections.
func (p *Postgres) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, p.url("postgres"))
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

func (p *Postgres) createDatabase(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, p.url("postgres"))
	if err != nil {
		return fmt.Errorf("connect to Postgres: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", p.opts.Database).Scan(&exists); err != nil {
		return fmt.Errorf("look for the database: %w", err)
	}
	if exists {
		return nil
	}
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{p.opts.Database}.Sanitize()); err != nil {
		return fmt.Errorf("create the database: %w", err)
	}
	return nil
}

func (p *Postgres) url(database string) string {
	return (&url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(p.opts.User, p.opts.Password),
		Host:     net.JoinHostPort(loopback, strconv.Itoa(p.port)),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}).String()
}

// URL is the connection URL of the database, password included.
func (p *Postgres) URL() string { return p.url(p.opts.Database) }

// Port is the port on 127.0.0.1.
func (p *Postgres) Port() int { return p.port }

// Done is closed when the server has ended, wanted or not.
func (p *Postgres) Done() <-chan struct{} { return p.child.done() }

// Stop ends the server: open connections are closed, data is flushed.
func (p *Postgres) Stop(ctx context.Context) error {
	err := p.child.stop(ctx)
	if p.opts.Disposable {
		// The supervisor, run by another user, may not remove it from our folder.
		err = errors.Join(err, os.RemoveAll(p.opts.DataDir), os.RemoveAll(p.opts.LogPath))
	}
	return err
}

// Crash ends the server without a clean shutdown, so that the next start has to
// recover, and returns when all its processes have ended. For tests.
func (p *Postgres) Crash() error {
	text, err := os.ReadFile(filepath.Join(p.opts.DataDir, "postmaster.pid"))
	if err != nil {
		return err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return err
	}
	// Killing the first process would leave the others to end in their own
	// time; SIGQUIT is Postgres's immediate shutdown.
	if err := syscall.Kill(pid, syscall.SIGQUIT); err != nil {
		return err
	}
	<-p.child.done()
	return nil
}

// choosePort returns a free port, or makes sure that the wanted one is.
func choosePort(ctx context.Context, wanted int, host string) (int, error) {
	addr := net.JoinHostPort(host, strconv.Itoa(wanted))
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return 0, fmt.Errorf("address %s is already in use", addr)
	case err != nil:
		return 0, err // names the address
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return 0, err
	}
	return port, nil
}
