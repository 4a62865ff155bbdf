// Package workspace prepares the folder that an agent works in, and finds out
// what the agent changed there.
package workspace

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/executor/internal/git"
	"github.com/poco-ai/poco/services/executor/internal/recorder"
	"github.com/poco-ai/poco/services/internal/disk"
	"github.com/poco-ai/poco/services/internal/repourl"
	"github.com/poco-ai/poco/services/internal/sanitize"
	"github.com/poco-ai/poco/services/internal/unlock"
)

const (
	// InputsDirName is where input files are put.
	InputsDirName = "inputs"

	// gitTimeout bounds a question to a repository.
	gitTimeout = 30 * time.Second

	// The folders of the state beside the agent's private one: its home, and what
	// we record of its work.
	homeDirName     = "home"
	recorderDirName = "recorder"
)

// builtinExcludes is what does not count as the agent's work unless a repository
// tracks it.
var builtinExcludes = []string{
	".git", ".hg", ".svn", ".DS_Store", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", "node_modules",
	".venv", "venv", ".next", "dist", "build", ".claude", ".codex", ".opencode",
}

// Options say what workspace is wanted.
type Options struct {
	// Root is the workspace's folder.
	Root string
	// State is a folder outside of it, for what the agent must not lose. It
	// survives the executor, and is neither in Git nor in the export.
	State string
	// Agent names the agent's private folder in State.
	Agent string
	// RepoURL is cloned into a folder of Root; empty for none. Branch is the
	// branch to check out; a branch that does not exist is replaced by the
	// repository's default one.
	RepoURL, Branch string
	// Excludes are more patterns of untracked files that do not count as the
	// agent's work, as in a .gitignore file.
	Excludes []string
	// RunID names the run.
	RunID  string
	Logger *slog.Logger
}

// Workspace is a prepared workspace at the start of a run.
type Workspace struct {
	// Dir is the working directory: the root, or the cloned repository.
	Dir string
	// AgentDir is the agent's private folder, HomeDir its home.
	AgentDir, HomeDir string
	// Notices are things the user should know.
	Notices []string

	opts     Options
	recorder *recorder.Recorder
}

// Prepare makes the workspace ready for a run: repository, folders, and the
// record of what is there before. Its errors are for people. It may be called
// again for the same run.
func Prepare(ctx context.Context, opts Options) (*Workspace, error) {
	w := &Workspace{
		opts: opts, AgentDir: filepath.Join(opts.State, opts.Agent), HomeDir: filepath.Join(opts.State, homeDirName),
	}
	if err := w.prepareFolders(); err != nil {
		return nil, err
	}
	if err := w.findDir(ctx); err != nil {
		return nil, err
	}
	w.removePipes()
	w.hideInputs()
	w.introduce(ctx)
	return w, w.record(ctx)
}

// record notes what is there before the run. Only a run that is to stop does
// not start for want of that.
func (w *Workspace) record(ctx context.Context) error {
	work, err := filepath.Rel(w.opts.Root, w.Dir)
	if err != nil || work == "." {
		work = ""
	}
	w.recorder = recorder.New(recorder.Options{
		Root: w.opts.Root, Work: work, Dir: filepath.Join(w.opts.State, recorderDirName),
		Excludes: slices.Concat(builtinExcludes, w.opts.Excludes), Skip: InputsDirName, Logger: w.opts.Logger,
	})
	problems, err := w.recorder.Begin(ctx, w.opts.RunID)
	for _, p := range problems {
		if isRule(p.Path) {
			w.removePipe(filepath.Join(w.opts.Root, p.Path))
		}
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		w.Notices = append(w.Notices, fmt.Sprintf("What this run changes cannot be shown: %v.", err))
	case len(problems) > 0:
		w.Notices = append(w.Notices, "Not all that was there before the run could be recorded, so that changes of it may show incompletely: "+list(problems)+".")
	}
	return nil
}

// maxNamed is how many paths a notice names.
const maxNamed = 10

// list names problems in a notice.
func list(problems []recorder.Problem) string {
	slices.SortFunc(problems, func(a, b recorder.Problem) int { return cmp.Compare(a.Path, b.Path) })
	var parts []string
	for i, p := range problems {
		if i == maxNamed {
			parts = append(parts, fmt.Sprintf("and %d more", len(problems)-i))
			break
		}
		if p.Path == "" {
			parts = append(parts, p.Reason)
			continue
		}
		parts = append(parts, fmt.Sprintf("%s (%s)", sanitize.Text(p.Path), p.Reason))
	}
	return strings.Join(parts, ", ")
}

// Changes compares the workspace with the start of the run. missing says what
// it could not look at, and why; empty when it shows all.
func (w *Workspace) Changes(ctx context.Context) (changed *backendv1.FilesChanged, missing string, err error) {
	changed, problems, err := w.recorder.Changes(ctx)
	if err != nil {
		return nil, "", err
	}
	changed.Branch, changed.RemoteUrl = w.branch(ctx), w.remote(ctx)
	return changed, list(problems), nil
}

func (w *Workspace) prepareFolders() error {
	w.unlock()
	for _, dir := range []string{w.AgentDir, w.HomeDir} {
		if err := w.clearTheWay(dir); err != nil {
			return err
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("the folder %s (EXECUTOR_STATE_PATH) is not writable for user %d: %w", w.opts.State, os.Getuid(), err)
		}
	}
	if err := os.MkdirAll(w.opts.Root, 0o755); err != nil {
		return fmt.Errorf("the workspace %s is not writable for user %d: %w", w.opts.Root, os.Getuid(), err)
	}
	// What an executor left that was killed in the middle of a clone.
	leftovers, err := filepath.Glob(filepath.Join(w.opts.Root, stagingPrefix+"*"))
	for _, name := range leftovers {
		err = errors.Join(err, os.RemoveAll(name))
	}
	if err != nil {
		return fmt.Errorf("an unfinished clone cannot be removed: %w", err)
	}
	probe, err := os.CreateTemp(w.opts.Root, ".poco-write-test-")
	if disk.Full(err) {
		return nil // The agent may be there to clean up.
	}
	if err != nil {
		return fmt.Errorf("the workspace %s is not writable for user %d: %w", w.opts.Root, os.Getuid(), err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// clearTheWay moves aside what the agent has put where one of our folders
// belongs, links that lead nowhere included.
func (w *Workspace) clearTheWay(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
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

// unlock opens the folders that the agent has locked, in the workspace and in its
// state.
func (w *Workspace) unlock() {
	for _, dir := range []string{w.opts.Root, w.opts.State} {
		// One that cannot be opened, or is none yet, shows to anyone who uses it.
		_ = unlock.Folders(dir)
	}
}

// Reclaim makes the workspace and its state be there again, as folders, when the
// agent has removed them, locked them or put something else in their place: who
// comes after it needs them. notices say what was replaced.
func (w *Workspace) Reclaim() (notices []string) {
	for _, dir := range []string{w.opts.Root, w.opts.State} {
		info, err := os.Lstat(dir)
		if err == nil && info.IsDir() {
			continue
		}
		what := "was gone"
		if err == nil {
			aside := dir + "-moved-" + w.opts.RunID
			err, what = os.Rename(dir, aside), "was no folder any more and has been moved to "+filepath.Base(aside)
		}
		if err == nil || errors.Is(err, os.ErrNotExist) {
			err = os.MkdirAll(dir, 0o755)
		}
		if err != nil {
			what = fmt.Sprintf("is no folder any more and cannot be made again: %v", err)
		}
		notices = append(notices, fmt.Sprintf("%s %s at the end of the run.", filepath.Base(dir), what))
	}
	w.unlock()
	return notices
}

// InputsDir is where the input files are, seen from the working directory.
func (w *Workspace) InputsDir() string {
	if w.Dir == w.opts.Root {
		return InputsDirName
	}
	return path.Join("..", InputsDirName)
}

// hideInputs keeps the folder of input files out of what git shows as new,
// without a word in a repository's own configuration.
func (w *Workspace) hideInputs() {
	name := filepath.Join(w.opts.Root, InputsDirName, ".gitignore")
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return // No inputs, or it is there.
	}
	_, err = file.WriteString("*\n")
	if err = errors.Join(err, file.Close()); err != nil {
		w.Notices = append(w.Notices, fmt.Sprintf("The input files may show as new ones in Git: %v.", err))
	}
}

// branch is the branch of the working directory, empty without one.
func (w *Workspace) branch(ctx context.Context) string {
	// Not --short, which is another name when a tag has the branch's.
	return strings.TrimPrefix(w.ask(ctx, "symbolic-ref", "--quiet", "HEAD"), "refs/heads/")
}

// remote returns the first remote's URL without credentials.
func (w *Workspace) remote(ctx context.Context) string {
	for _, name := range []string{"origin", "upstream"} {
		if raw := w.ask(ctx, "config", "--get", "remote."+name+".url"); raw != "" {
			return repourl.Redact(raw)
		}
	}
	return ""
}

// ask asks the working directory's repository, which may not be there, or not
// work: then there is no answer.
func (w *Workspace) ask(ctx context.Context, args ...string) string {
	gitDir := filepath.Join(w.Dir, ".git")
	if _, err := os.Lstat(gitDir); err != nil || git.Blocks(filepath.Join(gitDir, "HEAD")) || git.Blocks(filepath.Join(gitDir, "config")) {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, gitTimeout)
	defer cancel()
	answer, err := git.Git{Dir: w.Dir}.Output(ctx, args...)
	if err != nil {
		return ""
	}
	return sanitize.Text(answer)
}
