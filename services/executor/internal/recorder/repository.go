package recorder

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/poco-ai/poco/services/executor/internal/git"
)

// indexTimeout bounds asking a repository what it tracks.
const indexTimeout = 30 * time.Second

// repository is one in the workspace: the person's, a submodule, a worktree, or
// one that the agent has made. The workspace itself counts as one without Git.
type repository struct {
	// top is its folder below the workspace, "" for the workspace.
	top string
	// gitDir is empty without Git, or when it cannot be used. commonDir has the
	// objects, which several worktrees share.
	gitDir, commonDir string
	// sharable says that its objects have the names that ours have.
	sharable bool
	tracked  names
	// seen is what its Git files were like when they were read.
	seen string
}

// names are files, and the folders above them.
type names struct{ files, folders map[string]bool }

func newNames() names { return names{files: map[string]bool{}, folders: map[string]bool{}} }

func (n names) add(name string) {
	n.files[name] = true
	for dir := path.Dir(name); dir != "." && !n.folders[dir]; dir = path.Dir(dir) {
		n.folders[dir] = true
	}
}

// openRepository reads what a repository tracks, unless nothing has changed
// since it was read before.
func (r *Recorder) openRepository(ctx context.Context, top string) *repository {
	dir := filepath.Join(r.opts.Root, top)
	known := r.repositories[top]
	if known != nil && known.seen == look(dir, known.gitDir) {
		return known
	}
	repo := &repository{top: top, tracked: newNames()}
	if r.repositories == nil {
		r.repositories = map[string]*repository{}
	}
	r.repositories[top] = repo
	defer func() { repo.seen = look(dir, repo.gitDir) }()
	if _, err := os.Lstat(filepath.Join(dir, ".git")); err != nil || blocks(filepath.Join(dir, ".git")) {
		return repo
	}
	ctx, cancel := context.WithTimeout(ctx, indexTimeout)
	defer cancel()
	g := git.Git{Dir: dir}
	dirs, err := g.Output(ctx, "rev-parse", "--path-format=absolute", "--absolute-git-dir", "--git-common-dir", "--show-object-format")
	lines := strings.Split(dirs, "\n")
	if err != nil || len(lines) != 3 {
		return repo // No repository, or one that git refuses: its files are files.
	}
	if blocks(lines[0]) {
		return repo
	}
	g.GitDir, g.WorkTree = lines[0], dir
	list, err := g.Output(ctx, "ls-files", "-z", "--cached")
	if err != nil {
		return repo
	}
	repo.gitDir, repo.commonDir, repo.sharable = lines[0], lines[1], lines[2] == "sha1"
	for name := range strings.SplitSeq(list, "\x00") {
		if name != "" {
			repo.tracked.add(path.Join(top, name))
		}
	}
	return repo
}

// blocks tells whether git might wait for ever for a repository.
func blocks(gitDir string) bool {
	return slices.ContainsFunc([]string{"HEAD", "config", "index"}, func(name string) bool {
		return git.Blocks(filepath.Join(gitDir, name))
	})
}

// look sums up the files by which a change of what is tracked is seen.
func look(dir, gitDir string) string {
	var seen []unix.Stat_t
	for _, name := range []string{filepath.Join(dir, ".git"), filepath.Join(gitDir, "index")} {
		var st unix.Stat_t
		if unix.Lstat(name, &st) == nil {
			st.Atim = unix.Timespec{} // Reading is no change.
			seen = append(seen, st)
		}
	}
	return fmt.Sprint(seen)
}

// worktrees are a repository's other working folders: those below the
// workspace, which may be in an ignored folder, and those outside.
func (r *Recorder) worktrees(repo *repository) (inside, outside []string) {
	if repo.gitDir == "" {
		return nil, nil
	}
	folder := filepath.Join(repo.commonDir, "worktrees")
	links, err := os.ReadDir(folder)
	if err != nil {
		return nil, nil
	}
	for _, link := range links {
		content, ok := readSmall(filepath.Join(folder, link.Name(), "gitdir"))
		if !ok {
			continue
		}
		dir := filepath.Dir(strings.TrimSpace(content))
		top, err := filepath.Rel(r.opts.Root, dir)
		if err == nil && filepath.IsLocal(top) {
			inside = append(inside, filepath.ToSlash(top))
		} else if info, err := os.Stat(dir); err == nil && info.IsDir() {
			outside = append(outside, dir)
		}
	}
	return inside, outside
}

// maxSmall bounds the files of a repository that are read here.
const maxSmall = 64 << 10

// readSmall reads a file that is one, without ever waiting for it.
func readSmall(name string) (string, bool) {
	info, err := os.Lstat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxSmall {
		return "", false
	}
	content, err := os.ReadFile(name)
	return string(content), err == nil
}
