package claudecode

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
var ErrNoNPM = errors.New("npm was not found on PATH: install Node.js 18 or newer, or set " + PathSetting + " to an installed CLI")

// Install installs the pinned version into dataDir and returns its path; when
// it is there already, it returns at once. progress, which may be nil, is
// called with lines for people. Several processes may call it at the same
// time: one installs, the others wait for it. The version appears whole or not
// at all.
func Install(ctx context.Context, dataDir string, progress func(string)) (string, error) {
	if progress == nil {
		progress = func(string) {}
	}
	dir := installDir(dataDir)
	if path := executableIn(dir); path != "" {
		return path, nil
	}
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", fmt.Errorf("installing the Claude Code CLI: %w", err)
	}
	lock := flock.New(dir + ".lock")
	if locked, err := lock.TryLock(); err != nil {
		return "", fmt.Errorf("installing the Claude Code CLI: %w", err)
	} else if !locked {
		progress("Waiting for another process that installs the Claude Code CLI")
		if _, err = lock.TryLockContext(ctx, lockPoll); err != nil {
			return "", fmt.Errorf("installing the Claude Code CLI: waiting for another installer: %w", err)
		}
	}
	defer lock.Unlock() //nolint:errcheck // Closing the process's last descriptor frees it anyway.
	if path := executableIn(dir); path != "" {
		return path, nil
	}
	staging, err := os.MkdirTemp(parent, "."+Version+"-")
	if err != nil {
		return "", fmt.Errorf("installing the Claude Code CLI: %w", err)
	}
	defer os.RemoveAll(staging)
	if err := npmInstall(ctx, staging, progress); err != nil {
		return "", err
	}
	if executableIn(staging) == "" {
		return "", fmt.Errorf("installing the Claude Code CLI: npm reported success but there is no executable for this platform in %s@%s", Package, Version)
	}
	// A broken earlier copy would make the rename fail.
	if err := os.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("installing the Claude Code CLI: %w", err)
	}
	if err := os.Chmod(staging, 0o755); err != nil {
		return "", fmt.Errorf("installing the Claude Code CLI: %w", err)
	}
	if err := os.Rename(staging, dir); err != nil {
		return "", fmt.Errorf("installing the Claude Code CLI: %w", err)
	}
	path := executableIn(dir)
	progress("The Claude Code CLI " + Version + " is installed: " + path)
	return path, nil
}

func npmInstall(ctx context.Context, prefix string, progress func(string)) error {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return ErrNoNPM
	}
	progress("Installing the Claude Code CLI " + Version + " from npm (about 240 MB)")
	cmd := exec.CommandContext(ctx, npm, "install", "--prefix", prefix, "--no-audit", "--no-fund", "--no-save",
		"--loglevel", "http", Package+"@"+Version)
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
		return fmt.Errorf("installing the Claude Code CLI: %w", context.Cause(ctx))
	}
	if err != nil {
		return egress.ExplainUntrusted(fmt.Errorf("installing the Claude Code CLI with npm: %w: %s", err, strings.Join(tail, " | ")))
	}
	return nil
}
