package workspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	identityName  = "poco"
	identityEmail = "poco@local"

	// gitStopDelay is how long git may take to stop when its time is up.
	gitStopDelay = 2 * time.Second
	// gitFatal is git's exit code when it gives up.
	gitFatal = 128
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
	"user.name=" + identityName,
	"user.email=" + identityEmail,
	"commit.gpgSign=false",
	"tag.gpgSign=false",
	"gc.auto=0",
	"maintenance.auto=false",
	"advice.detachedHead=false",
	"init.defaultBranch=main",
	"submodule.recurse=false",
	"diff.external=",
	"core.safecrlf=false",
	"core.splitIndex=false",
}

// git is the git program at work in one folder.
type git struct {
	dir string
	// gitDir is the folder's repository; empty to look for it.
	gitDir string
	// recorder makes git work with the recorder's own configuration, attributes
	// and index. Only the objects are the repository's.
	recorder *recorder
	// protocols that git may fetch over.
	protocols string
}

func (g git) command(ctx context.Context, args ...string) *exec.Cmd {
	all := make([]string, 0, 2*len(untrusted)+len(args))
	for _, setting := range untrusted {
		all = append(all, "-c", setting)
	}
	cmd := exec.CommandContext(ctx, "git", append(all, args...)...)
	cmd.Dir = g.dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), //nolint:forbidigo // Passed on to find git's parts, not read as a setting.
		"HOME=/nonexistent", "LC_ALL=C.UTF-8", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=true", "GIT_OPTIONAL_LOCKS=0", "GIT_ALLOW_PROTOCOL=" + g.protocols,
		"GIT_LFS_SKIP_SMUDGE=1",
		// A broken repository must not make git find another one further up.
		"GIT_CEILING_DIRECTORIES=" + filepath.Dir(g.dir),
	}
	switch {
	case g.recorder != nil:
		cmd.Env = append(cmd.Env, "GIT_DIR="+g.recorder.dir, "GIT_WORK_TREE="+g.dir, "GIT_OBJECT_DIRECTORY="+g.recorder.objects)
	case g.gitDir != "":
		// core.worktree and core.bare are the agent's to set.
		cmd.Env = append(cmd.Env, "GIT_DIR="+g.gitDir, "GIT_WORK_TREE="+g.dir)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = gitStopDelay
	return cmd
}

// output runs git and returns what it printed, without the last line break.
func (g git) output(ctx context.Context, args ...string) (string, error) {
	return g.run(ctx, nil, args...)
}

func (g git) run(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	cmd := g.command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return "", &gitError{args: args, stderr: tail(stderr.String()), err: err}
	}
	return strings.TrimSuffix(stdout.String(), "\n"), nil
}

func tail(s string) string {
	s = strings.TrimSpace(strings.ToValidUTF8(s, "\uFFFD"))
	if len(s) > maxErrorText {
		s = strings.ToValidUTF8(s[len(s)-maxErrorText:], "")
	}
	return s
}

// gitError is a git command that failed.
type gitError struct {
	args   []string
	stderr string
	err    error
}

func (e *gitError) Error() string {
	return fmt.Sprintf("git %s: %v: %s", e.args[0], e.err, e.stderr)
}

func (e *gitError) Unwrap() error { return e.err }

// exitCode returns git's exit code, or -1.
func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

// addAll records the work tree in the recorder's index and returns its tree.
func (g git) addAll(ctx context.Context) (tree string, err error) {
	// Files that cannot be read are left out; git reports them with exit code 1.
	if _, err := g.output(ctx, "add", "--all", "--ignore-errors", "."); err != nil && exitCode(err) != 1 {
		return "", err
	}
	return g.output(ctx, "write-tree")
}

// head returns the current commit; empty before the first.
func (g git) head(ctx context.Context) (string, error) {
	return g.resolve(ctx, "HEAD")
}

// resolve returns the commit of a name; empty when there is none.
func (g git) resolve(ctx context.Context, name string) (string, error) {
	g.recorder = nil
	commit, err := g.output(ctx, "rev-parse", "--verify", "--quiet", name+"^{commit}")
	if exitCode(err) == 1 {
		return "", nil
	}
	return commit, err
}

// commit records a tree on top of parent, which may be empty. It uses no
// porcelain: that would stop in the middle of the agent's merge.
func (g git) commit(ctx context.Context, tree, parent, message string) (string, error) {
	args := []string{"commit-tree", tree, "-m", message}
	if parent != "" {
		args = append(args, "-p", parent)
	}
	recording := g
	commit, err := recording.output(ctx, args...)
	if err != nil {
		return "", err
	}
	g.recorder = nil
	if _, err := g.output(ctx, "update-ref", "-m", message, "HEAD", commit); err != nil {
		return "", err
	}
	// The agent's own index follows, so that it sees a clean tree.
	return commit, recording.recorder.publishIndex(g.gitDir)
}

func (g git) tag(ctx context.Context, name, commit string) error {
	g.recorder = nil
	_, err := g.output(ctx, "update-ref", "refs/tags/"+name, commit)
	return err
}

// find returns the repository's folder; empty when dir is no repository's top.
func (g git) find(ctx context.Context) (string, error) {
	if _, err := os.Lstat(filepath.Join(g.dir, ".git")); err != nil {
		return "", nil //nolint:nilerr // No repository is an answer, not a failure.
	}
	return g.output(ctx, "rev-parse", "--absolute-git-dir")
}
