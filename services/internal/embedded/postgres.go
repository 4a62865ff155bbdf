// Package embedded runs the servers Poco needs as child processes: Postgres and
// an S3 server. The children end with this process, however it ends.
package embedded

import "context"

// Progress is told what takes long, one line a step; nil is allowed.
type Progress func(line string)

// PostgresOptions describes a Postgres server.
type PostgresOptions struct {
	// DataDir holds the cluster; it is created when missing and kept. As root
	// it must be under folders that every user can pass.
	DataDir string
	// Port on 127.0.0.1; 0 takes a free one.
	Port int
	// User is the superuser; default "poco".
	User string
	// Password of the superuser; required.
	Password string
	// Database is created when missing; default "poco".
	Database string
	// LogPath receives the server's log; default DataDir + ".log".
	LogPath string
	// DownloadDir receives the binaries when none are installed; empty forbids
	// the download.
	DownloadDir string
	// Disposable trades durability for speed and removes DataDir at the end.
	// For tests.
	Disposable bool
	// Progress is told about the slow steps.
	Progress Progress
}

// Postgres is a running server.
type Postgres struct{}

// StartPostgres starts a server and returns when it accepts connections.
func StartPostgres(ctx context.Context, opts PostgresOptions) (*Postgres, error) {
	return &Postgres{}, nil
}

// URL is the connection URL of the database, password included.
func (p *Postgres) URL() string { return "" }

// Port is the port on 127.0.0.1.
func (p *Postgres) Port() int { return 0 }

// Done is closed when the server has ended, wanted or not.
func (p *Postgres) Done() <-chan struct{} { return nil }

// Stop ends the server: open connections are closed, data is flushed.
func (p *Postgres) Stop(ctx context.Context) error { return nil }
