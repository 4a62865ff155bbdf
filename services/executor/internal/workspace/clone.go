package workspace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/poco-ai/poco/services/executor/internal/git"
	"github.com/poco-ai/poco/services/internal/egress"
	"github.com/poco-ai/poco/services/internal/repourl"
	"github.com/poco-ai/poco/services/internal/sanitize"
)

const (
	cloneTimeout = 10 * time.Minute
	// defaultBranch is tried first when no branch is named.
	defaultBranch = "main"
	// protocols are what a repository may be cloned over, redirects included.
	protocols = "http:https"
	// stagingPrefix begins the name of a clone that is under way.
	stagingPrefix = ".poco-clone-"
	// clonesName is the file, in the state, that tells which repository is where.
	clonesName = "clones.json"
	// maxSameName bounds how many repositories of one name a workspace has.
	maxSameName = 100
)

// findDir finds the working directory, and clones the repository unless an
// earlier run has.
func (w *Workspace) findDir(ctx context.Context) error {
	w.Dir = w.opts.Root
	if w.opts.RepoURL == "" {
		return nil
	}
	repository, err := repourl.Parse(w.opts.RepoURL)
	if err != nil {
		return fmt.Errorf("config.repo_url: %w", err)
	}
	clones := w.clones()
	if name := clones[repository.URL]; filepath.IsLocal(name) && filepath.Base(name) == name {
		w.Dir = filepath.Join(w.opts.Root, name)
		if err := w.clearTheWay(w.Dir); err != nil {
			return err
		}
		if _, err := os.Lstat(filepath.Join(w.Dir, ".git")); err == nil {
			return nil
		}
		if _, err := os.Lstat(w.Dir); err == nil {
			w.Notices = append(w.Notices, fmt.Sprintf("The folder %s is no Git repository any more. It stays as it is.", name))
			return nil
		}
	}
	there, err := w.freeFolder(ctx, repository)
	if err != nil {
		return err
	}
	if !there {
		if err := w.clone(ctx, repository); err != nil {
			return err
		}
	}
	clones[repository.URL] = filepath.Base(w.Dir)
	return w.rememberClones(clones)
}

// freeFolder makes the working directory a folder where the repository can be
// put: what is there already is another repository, or somebody's work. there
// says that it is this one, which is not known any more.
func (w *Workspace) freeFolder(ctx context.Context, repository repourl.Repository) (there bool, err error) {
	w.Dir = filepath.Join(w.opts.Root, repository.Name)
	for n := 2; n <= maxSameName; n++ {
		if _, err := os.Lstat(w.Dir); errors.Is(err, os.ErrNotExist) {
			return false, nil
		} else if err != nil {
			return false, fmt.Errorf("the repository cannot be put into the workspace: %w", err)
		}
		if w.ask(ctx, "config", "--get", "remote.origin.url") == repository.URL {
			return true, nil
		}
		w.Dir = filepath.Join(w.opts.Root, fmt.Sprintf("%s-%d", repository.Name, n))
	}
	return false, fmt.Errorf("the workspace has %d folders called %s already", maxSameName, repository.Name)
}

// clones tells which repositories have been cloned, by URL, and into which
// folders of the workspace.
func (w *Workspace) clones() map[string]string {
	clones := map[string]string{}
	content, err := os.ReadFile(filepath.Join(w.opts.State, clonesName))
	if err == nil {
		err = json.Unmarshal(content, &clones)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) || clones == nil {
		return map[string]string{} // Then the repository is cloned once more.
	}
	return clones
}

func (w *Workspace) rememberClones(clones map[string]string) error {
	content, err := json.Marshal(clones)
	if err != nil {
		return err
	}
	name := filepath.Join(w.opts.State, clonesName)
	if err := os.WriteFile(name+".new", content, 0o644); err != nil {
		return fmt.Errorf("where the repository is cannot be noted: %w", err)
	}
	return os.Rename(name+".new", name)
}

// clone clones the repository. The clone appears whole or not at all.
func (w *Workspace) clone(ctx context.Context, repository repourl.Repository) error {
	ctx, cancel := context.WithTimeoutCause(ctx, cloneTimeout, fmt.Errorf("not done within %s", cloneTimeout))
	defer cancel()
	// On the workspace's own file system, so that it can be moved into place.
	staging, err := os.MkdirTemp(w.opts.Root, stagingPrefix)
	if err != nil {
		return fmt.Errorf("the repository cannot be cloned: %w", err)
	}
	defer os.RemoveAll(staging)
	target := filepath.Join(staging, "repository")
	g := git.Git{Dir: staging, Protocols: protocols, Env: credentials(repository)}
	branch := w.opts.Branch
	if branch == "" {
		branch = defaultBranch
	}
	_, err = g.Output(ctx, "clone", "--quiet", "--branch", branch, "--", repository.URL, target)
	// Git takes a tag of that name as well, which nobody has asked for.
	tag := err == nil && w.opts.Branch == "" && !onBranch(ctx, target)
	if (err != nil || tag) && ctx.Err() == nil {
		if err := os.RemoveAll(target); err != nil {
			return fmt.Errorf("the repository cannot be cloned: %w", err)
		}
		if _, err = g.Output(ctx, "clone", "--quiet", "--", repository.URL, target); err == nil && w.opts.Branch != "" {
			w.Notices = append(w.Notices, fmt.Sprintf("The repository has no branch %q; its default branch is used.", w.opts.Branch))
		}
	}
	if err != nil {
		return fmt.Errorf("the repository %s cannot be cloned: %w", repository.URL, egress.ExplainUntrusted(err))
	}
	if branches := unborn(ctx, target); branches != "" {
		w.Notices = append(w.Notices, "Nothing is checked out: the repository's default branch does not exist. It has "+branches+": name one in config.git_branch.")
	}
	if err := os.Rename(target, w.Dir); err != nil {
		return fmt.Errorf("the repository cannot be put into the workspace: %w", err)
	}
	if name := filepath.Base(w.Dir); name != repository.Name {
		w.Notices = append(w.Notices, fmt.Sprintf("The repository is in the folder %s: what was in %s already stays as it is.", name, repository.Name))
	}
	if repository.Password != "" || repository.User != "" {
		w.Notices = append(w.Notices, "The user and password in the repository's URL served for the clone alone: they are not in the workspace, and the agent cannot fetch or push with them.")
	}
	return nil
}

func onBranch(ctx context.Context, dir string) bool {
	_, err := git.Git{Dir: dir}.Output(ctx, "symbolic-ref", "--quiet", "HEAD")
	return err == nil
}

// unborn names the branches of a clone that has some, and none checked out.
func unborn(ctx context.Context, dir string) string {
	g := git.Git{Dir: dir}
	if _, err := g.Output(ctx, "rev-parse", "--verify", "--quiet", "HEAD"); err == nil {
		return ""
	}
	branches, err := g.Output(ctx, "for-each-ref", fmt.Sprintf("--count=%d", maxNamed), "--format=%(refname:lstrip=3)", "refs/remotes/origin")
	if err != nil {
		return ""
	}
	return sanitize.Text(strings.Join(strings.Split(branches, "\n"), ", "))
}

// credentials have git ask us for user and password, for the repository's server
// alone. They are on no command line and in no file.
func credentials(repository repourl.Repository) []string {
	if repository.User == "" && repository.Password == "" {
		return nil
	}
	scheme, rest, _ := strings.Cut(repository.URL, "://")
	host, _, _ := strings.Cut(rest, "/")
	return []string{
		"GIT_CONFIG_COUNT=1",
		"GIT_CONFIG_KEY_0=credential." + scheme + "://" + host + ".helper",
		`GIT_CONFIG_VALUE_0=!f() { test "$1" = get && printf 'username=%s\npassword=%s\n' "$POCO_CLONE_USER" "$POCO_CLONE_PASSWORD"; }; f`,
		"POCO_CLONE_USER=" + repository.User,
		"POCO_CLONE_PASSWORD=" + repository.Password,
	}
}
