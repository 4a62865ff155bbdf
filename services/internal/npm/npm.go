// Package npm installs programs from npm, each in a pinned version.
package npm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/poco-ai/poco/services/internal/egress"
)

const (
	// lockPoll is how often a waiting installer looks whether the lock is free.
	lockPoll = 200 * time.Millisecond
	// stopDelay is how long npm may take to stop when the context ends.
	stopDelay = 5 * time.Second
	// tailLines is how much of npm's output a failure shows.
	tailLines = 5
)

// ErrNoNPM is returned by Install on a machine without npm.
var ErrNoNPM = errors.New("npm was not found on PATH: install Node.js 18 or newer")

// Package is a program in a pinned version.
type Package struct {
	// Title is what people call the program.
	Title string
	// Name and Version are the package's.
	Name, Version string
	// Program finds the program below an npm prefix; empty when it is not there.
	Program func(prefix string) string
}

// Install installs a package below dir, in a folder of its own for each version, and
// returns the program's path; when it is there already, it returns at once. progress,
// which may be nil, is called with lines for people. Several processes may call it at
// the same time: one installs, the others wait for it. The version appears whole or
// not at all.
func Install(ctx context.Context, p Package, dir string, progress func(string)) (string, error) {
	if progress == nil {
		progress = func(string) {}
	}
	parent := dir
	dir = filepath.Join(dir, p.Version)
	if path := p.Program(dir); path != "" {
		return path, nil
	}
	failed := func(err error) error { return fmt.Errorf("installing %s: %w", p.Title, err) }
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", failed(err)
	}
	lock := flock.New(dir + ".lock")
	if locked, err := lock.TryLock(); err != nil {
		return "", failed(err)
	} else if !locked {
		progress("Waiting for another process that installs " + p.Title)
		if _, err = lock.TryLockContext(ctx, lockPoll); err != nil {
			return "", failed(fmt.Errorf("waiting for another installer: %w", err))
		}
	}
	defer lock.Unlock() //nolint:errcheck // Closing the process's last descriptor frees it anyway.
	if path := p.Program(dir); path != "" {
		return path, nil
	}
	staging, err := os.MkdirTemp(parent, "."+p.Version+"-")
	if err != nil {
		return "", failed(err)
	}
	defer os.RemoveAll(staging)
	if err := p.install(ctx, staging, progress); err != nil {
		return "", failed(err)
	}
	if p.Program(staging) == "" {
		return "", failed(fmt.Errorf("npm reported success but there is no executable for this platform in %s@%s", p.Name, p.Version))
	}
	// A broken earlier copy would make the rename fail.
	if err := os.RemoveAll(dir); err != nil {
		return "", failed(err)
	}
	if err := os.Chmod(staging, 0o755); err != nil {
		return "", failed(err)
	}
	if err := os.Rename(staging, dir); err != nil {
		return "", failed(err)
	}
	path := p.Program(dir)
	progress(p.Title + " " + p.Version + " is installed: " + path)
	return path, nil
}

func (p Package) install(ctx context.Context, prefix string, progress func(string)) error {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return ErrNoNPM
	}
	progress("Installing " + p.Title + " " + p.Version + " from npm (some hundred MB)")
	cmd := exec.CommandContext(ctx, npm, "install", "--prefix", prefix, "--no-audit", "--no-fund", "--no-save",
		"--loglevel", "http", p.Name+"@"+p.Version)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = stopDelay
	// Outside of any package.json, so that npm does not take a parent's.
	cmd.Dir = prefix
	cmd.Env = append(os.Environ(), egress.List(egress.Environment())...)
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	tail, done := make([]string, 0, tailLines), make(chan struct{})
	go func() {
		defer close(done)
		scanner := bufio.NewScanner(r)
		for scanner.Scan() {
			line := strings.TrimSpace(scanner.Text())
			if line == "" {
				continue
			}
			if len(tail) == tailLines {
				tail = tail[1:]
			}
			tail = append(tail, line)
			progress("npm: " + line)
		}
		// A line longer than the scanner takes must not block npm.
		_, _ = io.Copy(io.Discard, r)
	}()
	err = cmd.Run()
	_ = w.Close() // Always nil.
	<-done
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return egress.ExplainUntrusted(fmt.Errorf("npm: %w: %s", err, strings.Join(tail, " | ")))
	}
	return nil
}
