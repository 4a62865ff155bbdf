package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// s3Program is a real S3 server that keeps objects as files.
	s3Program = "versitygw"
	// s3Module is what it is built from when it is not installed.
	s3Module = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
	// s3HealthPath is not a possible bucket name.
	s3HealthPath = "/_healthz"
	// s3StopGrace in seconds. The server waits ten for idle connections; what
	// it has answered is on disk, and what it has not yet never half.
	s3StopGrace = "1"
	// s3BuildTimeout bounds the build; it takes a minute on two cores.
	s3BuildTimeout = 15 * time.Minute
	// s3BuildStopDelay is how long go may take to end when it is interrupted.
	s3BuildStopDelay = 10 * time.Second
)

// ErrNoS3 means that no S3 server is installed and none may be built.
var ErrNoS3 = errors.New("no S3 server is installed (go install " + s3Module + ")")

// S3Options describes an S3 server.
type S3Options struct {
	// DataDir holds the objects; it is created when missing and kept.
	DataDir string
	// Host is the listen address; default 127.0.0.1.
	Host string
	// Port; 0 takes a free one.
	Port int
	// AccessKey and SecretKey are those of the only account; required.
	AccessKey string
	SecretKey string
	// Region is what requests must be signed for; default "us-east-1".
	Region string
	// LogPath receives the server's log; default DataDir + ".log".
	LogPath string
	// BinDir receives the server's binary when none is installed; empty forbids
	// building it.
	BinDir string
	// Disposable removes DataDir at the end. For tests.
	Disposable bool
	// Progress is told about the slow steps.
	Progress Progress
}

func (o *S3Options) complete() error {
	if o.DataDir == "" || o.AccessKey == "" || o.SecretKey == "" {
		return errors.New("the embedded S3 server needs a data folder and keys")
	}
	dir, err := filepath.Abs(o.DataDir)
	if err != nil {
		return err
	}
	o.DataDir = dir
	if o.Host == "" {
		o.Host = loopback
	}
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	if o.LogPath == "" {
		o.LogPath = o.DataDir + ".log"
	}
	return nil
}

// S3 is a running server.
type S3 struct {
	opts  S3Options
	port  int
	child *child
}

// StartS3 starts a server and returns when it answers. The server outlives ctx;
// end it with Stop.
func StartS3(ctx context.Context, opts S3Options) (*S3, error) {
	if err := opts.complete(); err != nil {
		return nil, err
	}
	bin, err := findS3(ctx, opts)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	objects := filepath.Join(opts.DataDir, "objects")
	if err := os.MkdirAll(objects, 0o700); err != nil {
		return nil, fmt.Errorf("create the S3 data folder: %w", err)
	}
	metadata, err := metadataArgs(opts.DataDir, objects)
	if err != nil {
		return nil, fmt.Errorf("prepare the S3 data folder: %w", err)
	}
	for attempt := 1; ; attempt++ {
		s, err := launchS3(ctx, opts, bin, objects, metadata)
		if err != nil && opts.Port == 0 && attempt < portAttempts && strings.Contains(err.Error(), "address already in use") {
			continue
		}
		return s, err
	}
}

func launchS3(ctx context.Context, opts S3Options, bin, objects string, metadata []string) (*S3, error) {
	port, err := choosePort(ctx, opts.Port, opts.Host)
	if err != nil {
		return nil, fmt.Errorf("start the S3 server: %w", err)
	}
	argv := []string{bin, "--port", net.JoinHostPort(opts.Host, strconv.Itoa(port)), "--region", opts.Region, "--quiet", "--keep-alive", "--health", s3HealthPath, "posix"}
	argv = append(append(argv, metadata...), objects)
	before := fileSize(opts.LogPath)
	remove := ""
	if opts.Disposable {
		remove = opts.DataDir
	}
	c, err := startChild(childSpec{ // the server outlives ctx
		name: "the S3 server",
		argv: argv,
		// Not as arguments, which every user of the machine can see.
		env:     []string{"ROOT_ACCESS_KEY=" + opts.AccessKey, "ROOT_SECRET_KEY=" + opts.SecretKey},
		signal:  "TERM",
		grace:   s3StopGrace,
		remove:  remove,
		logPath: opts.LogPath,
		dir:     opts.DataDir,
	})
	if err != nil {
		return nil, err
	}
	s := &S3{opts: opts, port: port, child: c}
	if err := c.waitReady(ctx, s.ping); err != nil {
		if errors.Is(err, errEnded) {
			return nil, fmt.Errorf("the S3 server ended while starting; the end of %s:\n%s", opts.LogPath, lastLines(opts.LogPath, before))
		}
		return nil, errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
	}
	return s, nil
}

// metadataArgs chooses where object metadata is kept: in extended attributes,
// or beside the objects on file systems without them. The choice is kept with
// the data.
func metadataArgs(dataDir, objects string) ([]string, error) {
	sidecar := filepath.Join(dataDir, "metadata")
	if _, err := os.Stat(sidecar); err != nil {
		err := unix.Setxattr(objects, "user.poco.probe", []byte("1"), 0)
		if err == nil {
			return nil, nil
		}
		if err := os.MkdirAll(sidecar, 0o700); err != nil {
			return nil, err
		}
	}
	return []string{"--sidecar", sidecar}, nil
}

func (s *S3) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Endpoint()+s3HealthPath, nil)
	if err != nil {
		return err
	}
	// A transport of its own leaves no idle connection behind.
	transport := &http.Transport{DisableKeepAlives: true}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	if err := res.Body.Close(); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("health: %s", res.Status)
	}
	return nil
}

// Endpoint is the server's URL.
func (s *S3) Endpoint() string {
	return "http://" + net.JoinHostPort(s.opts.Host, strconv.Itoa(s.port))
}

// Port is the listen port.
func (s *S3) Port() int { return s.port }

// Done is closed when the server has ended, wanted or not.
func (s *S3) Done() <-chan struct{} { return s.child.done() }

// Stop ends the server.
func (s *S3) Stop(ctx context.Context) error { return s.child.stop(ctx) }

// FindS3 returns an installed S3 server, or ErrNoS3.
func FindS3(ctx context.Context) (string, error) { return findS3(ctx, S3Options{}) }

// FetchS3 returns the S3 server: an installed one, or the one it builds into dir.
func FetchS3(ctx context.Context, dir string, progress Progress) (string, error) {
	return findS3(ctx, S3Options{BinDir: dir, Progress: progress})
}

func findS3(ctx context.Context, opts S3Options) (string, error) {
	if path, err := exec.LookPath(s3Program); err == nil {
		return filepath.Abs(path)
	}
	folders := goBinFolders(ctx)
	if opts.BinDir != "" {
		folders = append(folders, opts.BinDir)
	}
	for _, dir := range folders {
		if path := filepath.Join(dir, s3Program); isExecutable(path) {
			return path, nil
		}
	}
	if opts.BinDir == "" {
		return "", ErrNoS3
	}
	return buildS3(ctx, opts)
}

// goBinFolders are where "go install" puts programs.
func goBinFolders(ctx context.Context) []string {
	folders := []string{os.Getenv("GOBIN")}
	for _, path := range filepath.SplitList(os.Getenv("GOPATH")) {
		folders = append(folders, filepath.Join(path, "bin"))
	}
	if home, err := os.UserHomeDir(); err == nil {
		folders = append(folders, filepath.Join(home, "go", "bin"))
	}
	if out, err := exec.CommandContext(ctx, "go", "env", "GOBIN", "GOPATH").Output(); err == nil {
		lines := strings.Split(string(out), "\n")
		folders = append(folders, strings.TrimSpace(lines[0]))
		if len(lines) > 1 {
			for _, path := range filepath.SplitList(strings.TrimSpace(lines[1])) {
				folders = append(folders, filepath.Join(path, "bin"))
			}
		}
	}
	var existing []string
	for _, dir := range folders {
		if filepath.IsAbs(dir) {
			existing = append(existing, dir)
		}
	}
	return existing
}

func buildS3(ctx context.Context, opts S3Options) (string, error) {
	goCommand, err := exec.LookPath("go")
	if err != nil {
		return "", fmt.Errorf("%w, and there is no Go to build it with", ErrNoS3)
	}
	opts.Progress.tell("no S3 server is installed: building %s (a minute or two, once)", s3Module)
	ctx, cancel := context.WithTimeout(ctx, s3BuildTimeout)
	defer cancel()
	bin, err := filepath.Abs(opts.BinDir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, goCommand, "install", s3Module)
	// Interrupted, go removes what it was building; killed, it leaves it in /tmp.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = s3BuildStopDelay
	cmd.Dir = bin // outside of any module and workspace
	cmd.Env = append(os.Environ(), "GOBIN="+bin, "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the S3 server: %w\n%s", err, strings.TrimSpace(string(out)))
	}
	opts.Progress.tell("the S3 server is in %s", bin)
	return filepath.Join(bin, s3Program), nil
}
