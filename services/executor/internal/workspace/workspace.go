// Package workspace prepares the folder that an agent works in, and finds out
// what the agent changed there.
package workspace

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	// InputsDirName is where input files are put.
	InputsDirName = "inputs"

	// cloneTimeout bounds a clone, gitTimeout everything else git does.
	cloneTimeout = 10 * time.Minute
	gitTimeout   = 2 * time.Minute

	// The folders of the state: the CLI's config directory, the agent's home, and
	// what we record of its work.
	configDirName   = "claude"
	homeDirName     = "home"
	recorderDirName = "recorder"

	// ownerAccess is what is needed in a folder to work in it.
	ownerAccess = 0o700

	// defaultBranch is tried first when no branch is named.
	defaultBranch = "main"
	// allProtocols are what a repository may be cloned over.
	allProtocols = "http:https"
)

// builtinExcludes is what never counts as the agent's work.
var builtinExcludes = []string{
	".git", ".hg", ".svn", ".DS_Store", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", "node_modules",
	".venv", "venv", ".next", "dist", "build", ".claude", "/" + InputsDirName,
}

// Options say what workspace is wanted.
type Options struct {
	// Root is the workspace's folder.
	Root string
	// State is a folder outside of it, for what the agent must not lose. It
	// survives the executor, and is neither in Git nor in the export.
	State string
	// RepoURL is cloned into a folder of Root; empty for none. Branch is the
	// branch to check out; a branch that does not exist is replaced by the
	// repository's default one.
	RepoURL, Branch string
	// Excludes are more patterns for .git/info/exclude.
	Excludes []string
	// RunID names the run in commits and tags.
	RunID string

	// protocols is set by tests, which have no web server to clone from.
	protocols string
}

// Workspace is a prepared workspace at the start of a run.
type Workspace struct {
	// Dir is the working directory: the root, or the cloned repository.
	Dir string
	// ConfigDir is the CLI's config directory, HomeDir the agent's home.
	ConfigDir, HomeDir string
	// Notices are things the user should know.
	Notices []string

	opts Options
	git  git
	// base is the commit that changes are compared with.
	base   string
	remote string
}

// Prepare makes the workspace ready for a run: repository, inputs, excludes,
// config directory, and the commit and tag that changes are compared with.
// Its errors are for people. It may be called again for the same run.
func Prepare(ctx context.Context, opts Options) (*Workspace, error) {
	if opts.protocols == "" {
		opts.protocols = allProtocols
	}
	w := &Workspace{
		opts: opts, ConfigDir: filepath.Join(opts.State, configDirName), HomeDir: filepath.Join(opts.State, homeDirName),
	}
	if err := w.prepareFolders(); err != nil {
		return nil, err
	}
	if err := w.findDir(ctx); err != nil {
		return nil, err
	}
	err := w.track(ctx)
	if exitCode(err) == gitFatal {
		err = w.beginAgain(ctx, err)
	}
	if err != nil {
		return nil, err
	}
	w.linkInputs()
	return w, nil
}

// track opens the repository and records the start.
func (w *Workspace) track(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, gitTimeout, fmt.Errorf("not done within %s", gitTimeout))
	defer cancel()
	if err := w.openRepository(ctx); err != nil {
		return fmt.Errorf("the workspace's repository cannot be opened: %w", err)
	}
	if err := w.record(ctx); err != nil {
		return fmt.Errorf("the workspace's start cannot be recorded: %w", err)
	}
	return nil
}

// beginAgain replaces what git refuses to work with: the agent may do to its
// repository what it likes, and the session has to go on. It returns the cause
// when that does not help.
func (w *Workspace) beginAgain(ctx context.Context, cause error) error {
	if err := os.RemoveAll(w.recorderDir()); err != nil {
		return errors.Join(cause, err)
	}
	if w.track(ctx) == nil {
		return nil // It was the record.
	}
	repository := filepath.Join(w.Dir, ".git")
	aside, err := os.MkdirTemp(w.opts.Root, "broken-repository-")
	if err != nil {
		return errors.Join(cause, err)
	}
	kept := filepath.Join(aside, "git")
	if err := os.Rename(repository, kept); err != nil {
		return errors.Join(cause, err, os.Remove(aside))
	}
	if w.track(ctx) != nil {
		return errors.Join(cause, os.RemoveAll(repository), os.Rename(kept, repository), os.Remove(aside))
	}
	name, err := filepath.Rel(w.opts.Root, kept)
	if err != nil {
		name = kept
	}
	w.Notices = append(w.Notices, fmt.Sprintf("The workspace's Git repository could not be used any more (%v). It was moved to %s, and a new one was begun.", cause, name))
	return nil
}

// recorderDir is where the workspace's changes are recorded.
func (w *Workspace) recorderDir() string { return filepath.Join(w.opts.State, recorderDirName) }

func (w *Workspace) prepareFolders() error {
	for _, dir := range []string{w.ConfigDir, w.HomeDir} {
		if err := w.clearTheWay(dir); err != nil {
			return err
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("the folder %s (EXECUTOR_STATE_PATH) is not writable for user %d: %w", w.opts.State, os.Getuid(), err)
		}
	}
	for _, dir := range []string{w.opts.Root, filepath.Join(w.opts.Root, InputsDirName)} {
		if err := w.clearTheWay(dir); err != nil {
			return err
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("the workspace %s is not writable for user %d: %w", w.opts.Root, os.Getuid(), err)
		}
	}
	probe, err := os.CreateTemp(w.opts.Root, ".poco-write-test-")
	if err != nil {
		return fmt.Errorf("the workspace %s is not writable for user %d: %w", w.opts.Root, os.Getuid(), err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// clearTheWay moves aside what the agent has put where one of our folders
// belongs, links that lead nowhere included, and opens a folder it has locked.
func (w *Workspace) clearTheWay(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case dir == w.opts.Root:
		return nil
	case err == nil && info.IsDir():
		if info.Mode().Perm()&ownerAccess == ownerAccess {
			return nil
		}
		return os.Chmod(dir, info.Mode().Perm()|ownerAccess)
	}
	if _, err := os.Lstat(dir); err != nil {
		return nil //nolint:nilerr // Nothing is there, or making it tells more.
	}
	aside := dir + "-moved-" + w.opts.RunID
	if err := os.Rename(dir, aside); err != nil {
		return fmt.Errorf("the folder %s cannot be made: %w", dir, err)
	}
	w.Notices = append(w.Notices, fmt.Sprintf("%s was no folder and has been moved to %s.", filepath.Base(dir), filepath.Base(aside)))
	return nil
}

// findDir finds the working directory, and clones the repository.
func (w *Workspace) findDir(ctx context.Context) error {
	w.Dir = w.opts.Root
	if w.opts.RepoURL == "" {
		return nil
	}
	name, err := repositoryName(w.opts.RepoURL)
	if err != nil {
		return err
	}
	w.Dir = filepath.Join(w.opts.Root, name)
	return w.clone(ctx)
}

// openRepository finds or creates the repository.
func (w *Workspace) openRepository(ctx context.Context) error {
	g := git{dir: w.Dir, protocols: w.opts.protocols}
	gitDir, err := g.find(ctx)
	if gitDir == "" && err == nil {
		if _, err = g.output(ctx, "init", "--quiet"); err == nil {
			gitDir, err = g.find(ctx)
		}
	}
	if err != nil {
		return err
	}
	g.gitDir = gitDir
	// What git left that was killed in the middle.
	for _, lock := range []string{"index.lock", "HEAD.lock"} {
		if err := os.RemoveAll(filepath.Join(gitDir, lock)); err != nil {
			return fmt.Errorf("it is locked: %w", err)
		}
	}
	excludes, err := writeExcludes(filepath.Join(gitDir, "info", "exclude"), slices.Concat(builtinExcludes, w.opts.Excludes))
	if err != nil {
		return fmt.Errorf("its excludes cannot be written: %w", err)
	}
	w.git = g
	w.git.recorder, err = openRecorder(ctx, g, w.recorderDir(), excludes)
	return err
}

var safeName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)

// repositoryName is the folder a repository is cloned into.
func repositoryName(repoURL string) (string, error) {
	u, err := url.Parse(repoURL)
	if err != nil {
		return "", errors.New("the repository's URL cannot be read")
	}
	name := strings.TrimSuffix(path.Base(path.Clean("/"+u.Path)), ".git")
	if !safeName.MatchString(name) || name == InputsDirName {
		return "", fmt.Errorf("the repository's URL %s does not end in a usable name", redactURL(repoURL))
	}
	return name, nil
}

// redactURL removes credentials.
func redactURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "(unreadable)"
	}
	u.User = nil
	return u.String()
}

// clone clones the repository unless an earlier run has. The clone appears
// whole or not at all.
func (w *Workspace) clone(ctx context.Context) error {
	if _, err := os.Lstat(filepath.Join(w.Dir, ".git")); err == nil {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, cloneTimeout, fmt.Errorf("not done within %s", cloneTimeout))
	defer cancel()
	// On the workspace's own file system, so that it can be moved into place.
	staging, err := os.MkdirTemp(w.opts.Root, ".poco-clone-")
	if err != nil {
		return fmt.Errorf("the repository cannot be cloned: %w", err)
	}
	defer os.RemoveAll(staging)
	target := filepath.Join(staging, "repository")
	g := git{dir: staging, protocols: w.opts.protocols}
	branch := w.opts.Branch
	if branch == "" {
		branch = defaultBranch
	}
	_, err = g.output(ctx, "clone", "--quiet", "--branch", branch, "--", w.opts.RepoURL, target)
	if err != nil && ctx.Err() == nil {
		if err := os.RemoveAll(target); err != nil {
			return fmt.Errorf("the repository cannot be cloned: %w", err)
		}
		if _, err = g.output(ctx, "clone", "--quiet", "--", w.opts.RepoURL, target); err == nil && w.opts.Branch != "" {
			w.Notices = append(w.Notices, fmt.Sprintf("The repository has no branch %q; its default branch is used.", w.opts.Branch))
		}
	}
	if err != nil {
		text := strings.ReplaceAll(err.Error(), w.opts.RepoURL, redactURL(w.opts.RepoURL))
		return fmt.Errorf("the repository %s cannot be cloned: %s", redactURL(w.opts.RepoURL), text)
	}
	if err := os.Rename(target, w.Dir); err != nil {
		return fmt.Errorf("the repository cannot be put into the workspace: %w", err)
	}
	return nil
}

// linkInputs makes inputs/ visible in a cloned repository, when the repository
// has nothing of that name itself.
func (w *Workspace) linkInputs() {
	if w.Dir == w.opts.Root {
		return
	}
	link := filepath.Join(w.Dir, InputsDirName)
	if err := os.Symlink(filepath.Join("..", InputsDirName), link); err != nil && !errors.Is(err, os.ErrExist) {
		w.Notices = append(w.Notices, "The inputs folder cannot be linked into the repository.")
	}
}

// record commits what is there before the run and tags it.
func (w *Workspace) record(ctx context.Context) error {
	w.remote = w.remoteURL(ctx)
	tag := w.tagName("base")
	base, err := w.git.resolve(ctx, "refs/tags/"+tag)
	if err != nil || base != "" {
		w.base = base // The run goes on: changes count from its first start.
		return err
	}
	head, err := w.git.head(ctx)
	if err != nil {
		return err
	}
	tree, err := w.git.addAll(ctx)
	if err != nil {
		return err
	}
	message := "poco:run " + w.opts.RunID + " base"
	headTree := ""
	if head == "" {
		message = "poco:init"
	} else if headTree, err = w.git.output(ctx, "rev-parse", head+"^{tree}"); err != nil {
		return err
	}
	w.base = head
	if tree != headTree {
		if w.base, err = w.git.commit(ctx, tree, head, message); err != nil {
			return err
		}
	}
	return w.git.tag(ctx, tag, w.base)
}

// Finish commits what the run left and tags it. outcome is a word for the
// commit's message.
func (w *Workspace) Finish(ctx context.Context, outcome string) error {
	ctx, cancel := context.WithTimeout(ctx, gitTimeout)
	defer cancel()
	head, err := w.git.head(ctx)
	if err != nil {
		return fmt.Errorf("recording the result: %w", err)
	}
	tree, err := w.git.addAll(ctx)
	if err != nil {
		return fmt.Errorf("recording the result: %w", err)
	}
	commit, err := w.git.commit(ctx, tree, head, strings.TrimSpace("poco:run "+w.opts.RunID+" "+outcome))
	if err != nil {
		return fmt.Errorf("recording the result: %w", err)
	}
	if err := w.git.tag(ctx, w.tagName("result"), commit); err != nil {
		return fmt.Errorf("recording the result: %w", err)
	}
	return nil
}

func (w *Workspace) tagName(what string) string { return "poco/run/" + w.opts.RunID + "/" + what }

// remoteURL returns the first remote's URL without credentials.
func (w *Workspace) remoteURL(ctx context.Context) string {
	g := w.git
	g.recorder = nil
	for _, name := range []string{"origin", "upstream"} {
		if raw, err := g.output(ctx, "config", "--get", "remote."+name+".url"); err == nil && raw != "" {
			return redactURL(raw)
		}
	}
	return ""
}
