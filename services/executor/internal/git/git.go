// Package git runs the git program in folders that nobody trusts: nothing that
// is configured there is executed.
package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/poco-ai/poco/services/internal/egress"
)

const (
	// stopDelay is how long git may take to stop when its time is up.
	stopDelay = 2 * time.Second
	// maxErrorText bounds what of git's complaints goes into an error.
	maxErrorText = 2000
)

// untrusted are the settings under which git works in a workspace, whose
// content and configuration are the agent's: nothing of it is executed.
var untrusted = []string{
	"core.hooksPath=/dev/null",
	"core.fsmonitor=false",
	"core.untrackedCache=false",
	"core.quotePath=false",
	"core.attributesFile=/dev/null",
	"safe.directory=*",
	"gc.auto=0",
	"maintenance.auto=false",
	"advice.detachedHead=false",
	"submodule.recurse=false",
	"diff.external=",
}

// Git is the git program at work in one folder.
type Git struct {
	// Dir is where it is started.
	Dir string
	// GitDir is the repository; empty to look for it in Dir and nowhere above.
	GitDir string
	// WorkTree is the folder that GitDir is about; empty for none.
	WorkTree string
	// Alternates are folders of objects that may be read besides its own.
	Alternates []string
	// Protocols that git may fetch over, separated by colons; empty for none.
	Protocols string
	// Env is added to git's environment.
	Env []string
}

// Command returns a command of git that has not started. All that it starts
// ends with its context.
func (g Git) Command(ctx context.Context, args ...string) *exec.Cmd {
	all := make([]string, 0, 2*len(untrusted)+len(args))
	for _, setting := range untrusted {
		all = append(all, "-c", setting)
	}
	cmd := exec.CommandContext(ctx, "git", append(all, args...)...)
	cmd.Dir = g.Dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), //nolint:forbidigo // Passed on to find git's parts, not read as a setting.
		"HOME=/nonexistent", "LC_ALL=C.UTF-8", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=true", "GIT_OPTIONAL_LOCKS=0", "GIT_ALLOW_PROTOCOL=" + g.Protocols,
		"GIT_LFS_SKIP_SMUDGE=1", "GIT_NO_LAZY_FETCH=1",
		// A broken repository must not make git find another one further up.
		"GIT_CEILING_DIRECTORIES=" + filepath.Dir(g.Dir),
	}
	if g.Protocols != "" {
		cmd.Env = append(cmd.Env, egress.List(egress.Environment())...)
	}
	cmd.Env = append(cmd.Env, g.Env...)
	if g.GitDir != "" {
		cmd.Env = append(cmd.Env, "GIT_DIR="+g.GitDir)
	}
	if g.WorkTree != "" {
		// core.worktree and core.bare are the agent's to set.
		cmd.Env = append(cmd.Env, "GIT_WORK_TREE="+g.WorkTree)
	}
	if len(g.Alternates) > 0 {
		cmd.Env = append(cmd.Env, "GIT_ALTERNATE_OBJECT_DIRECTORIES="+strings.Join(g.Alternates, string(filepath.ListSeparator)))
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = stopDelay
	return cmd
}

// Output runs git and returns what it printed, without the last line break.
func (g Git) Output(ctx context.Context, args ...string) (string, error) {
	cmd := g.Command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return "", &Error{Command: args[0], Stderr: Tail(stderr.String()), Err: err}
	}
	return strings.TrimSuffix(stdout.String(), "\n"), nil
}

// Blocks tells whether opening a file might wait for ever: a named pipe that the
// agent has put where git reads, for example.
func Blocks(name string) bool {
	info, err := os.Stat(name)
	return err == nil && !info.Mode().IsRegular() && !info.IsDir()
}

// Tail is the end of what a command printed, as text.
func Tail(s string) string {
	s = strings.TrimSpace(strings.ToValidUTF8(s, "\uFFFD"))
	if len(s) > maxErrorText {
		s = strings.ToValidUTF8(s[len(s)-maxErrorText:], "")
	}
	return s
}

// Error is a git command that failed.
type Error struct {
	// Command is git's subcommand, Stderr the end of what it said.
	Command, Stderr string
	Err             error
}

func (e *Error) Error() string { return fmt.Sprintf("git %s: %v: %s", e.Command, e.Err, e.Stderr) }

func (e *Error) Unwrap() error { return e.Err }

// ExitCode returns git's exit code, or -1.
func ExitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}
