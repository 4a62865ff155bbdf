package recorder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/poco-ai/poco/services/executor/internal/git"
)

// Bounds of what is looked at.
const (
	maxFiles = 500_000
	maxDepth = 200
)

var errTooMany = fmt.Errorf("there are more than %d files", maxFiles)

// scan looks at the workspace once.
type scan struct {
	r    *Recorder
	ctx  context.Context
	list *listing
	// before is what was known of the files, so that only changed ones are read;
	// start, the beginning of the run, is looked at whatever is ignored by now.
	before map[string]entry
	start  *listing
	known  names
	// keepTracked and keepOther are how much content may still be kept.
	keepTracked, keepOther int64
	// tops are the repositories that were looked at.
	tops map[string]bool
}

// scan lists the workspace. start is nil for the beginning of a run.
func (r *Recorder) scan(ctx context.Context, before map[string]entry, start *listing) (*listing, error) {
	s := &scan{
		r: r, ctx: ctx, before: before, start: start, known: newNames(), tops: map[string]bool{},
		list:        &listing{Files: map[string]entry{}, Problems: map[string]string{}},
		keepTracked: maxKeptTracked, keepOther: maxKept,
	}
	if start != nil {
		for name := range start.Files {
			s.known.add(name)
		}
	}
	root, err := openFolder(unix.AT_FDCWD, r.opts.Root)
	if err != nil {
		return s.list, err
	}
	defer root.Close()
	err = s.repository("", root, 0)
	if errors.Is(err, errTooMany) {
		s.problem("", err)
		err = nil
	}
	return s.list, err
}

// openFolder opens a folder without following a link.
func openFolder(at int, name string) (*os.File, error) {
	fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (s *scan) problem(name string, err error) {
	var errno unix.Errno
	reason := err.Error()
	if errors.As(err, &errno) {
		reason = errno.Error()
	}
	s.list.Problems[name] = reason
}

// repository looks at a repository, and at its worktrees where the way to them
// is ignored.
func (s *scan) repository(top string, folder *os.File, depth int) error {
	if s.tops[top] {
		return nil
	}
	s.tops[top] = true
	repo := s.r.openRepository(s.ctx, top)
	in := &visit{scan: s, repo: repo, excludes: s.r.openExcludes(s.ctx, repo)}
	err := in.folder(top, folder, false, depth)
	in.excludes.close()
	if err != nil {
		return err
	}
	inside, outside := s.r.worktrees(repo)
	for _, dir := range outside {
		s.list.Problems[dir] = "it is a worktree outside of the workspace"
	}
	for _, top := range inside {
		if err := s.worktree(top); err != nil {
			return err
		}
	}
	return nil
}

func (s *scan) worktree(top string) error {
	if s.tops[top] {
		return nil
	}
	folder, err := openFolder(unix.AT_FDCWD, s.r.opts.Root)
	for part := range strings.SplitSeq(top, "/") {
		if err != nil {
			return nil // It is gone.
		}
		above := folder
		folder, err = openFolder(int(above.Fd()), part)
		above.Close()
	}
	if err != nil {
		return nil // It is gone.
	}
	defer folder.Close()
	return s.repository(top, folder, strings.Count(top, "/")+1)
}

// visit looks at one repository of a scan.
type visit struct {
	*scan
	repo     *repository
	excludes *excludes
	// noRules says that git cannot be asked what to leave out any more.
	noRules bool
}

func (v *visit) wants(name string) bool { return v.repo.tracked.files[name] || v.known.files[name] }

func (v *visit) leadsTo(name string) bool {
	return v.repo.tracked.folders[name] || v.known.folders[name]
}

// folder looks at a folder. Of an ignored one only what is tracked counts.
func (v *visit) folder(dir string, folder *os.File, ignored bool, depth int) error {
	if err := v.ctx.Err(); err != nil {
		return context.Cause(v.ctx)
	}
	if depth > maxDepth {
		v.unseen(dir, fmt.Errorf("folders nest deeper than %d", maxDepth))
		return nil
	}
	entries, err := folder.ReadDir(-1)
	if err != nil {
		v.unseen(dir, err)
	}
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	if dir != v.repo.top && slices.ContainsFunc(entries, isGit) && v.r.openRepository(v.ctx, dir).gitDir != "" {
		if _, err := folder.Seek(0, io.SeekStart); err != nil {
			return err
		}
		return v.repository(dir, folder, depth)
	}
	// Git would wait for ever for rules that are a named pipe.
	v.noRules = v.noRules || git.Blocks(filepath.Join(v.r.opts.Root, dir, ".gitignore"))
	var ask []string
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		switch {
		case isGit(e), dir == "" && e.Name() == v.r.opts.Skip, ignored, v.wants(name):
		default:
			ask = append(ask, e.Name())
		}
	}
	kept := v.excludes.filter(dir, ask, v.noRules)
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		switch {
		case isGit(e):
		case e.IsDir() && (kept[e.Name()] || v.wants(name) || v.leadsTo(name)):
			err = v.below(name, folder, e.Name(), !kept[e.Name()] && !v.wants(name), depth)
		case !e.IsDir() && (kept[e.Name()] || v.wants(name)):
			err = v.file(name, int(folder.Fd()), e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func isGit(e os.DirEntry) bool { return e.Name() == ".git" }

func (v *visit) below(name string, parent *os.File, base string, ignored bool, depth int) error {
	folder, err := openFolder(int(parent.Fd()), base)
	if err != nil {
		v.unseen(name, err)
		return nil
	}
	defer folder.Close()
	return v.folder(name, folder, ignored, depth+1)
}

// unseen notes a folder that cannot be looked at. What was in it counts as
// unchanged.
func (v *visit) unseen(dir string, err error) {
	if errors.Is(err, os.ErrNotExist) {
		return // It vanished.
	}
	v.problem(dir, err)
	if v.start == nil {
		return
	}
	for name, e := range v.start.Files {
		if dir == "" || strings.HasPrefix(name, dir+"/") {
			v.list.Files[name] = e
		}
	}
}

// file notes a file, and reads it when it is not the one that is known.
func (v *visit) file(name string, at int, e os.DirEntry) error {
	var st unix.Stat_t
	if err := unix.Fstatat(at, e.Name(), &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		if !errors.Is(err, os.ErrNotExist) {
			v.problem(name, err)
		}
		return nil
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFLNK:
	case unix.S_IFDIR:
		return nil // It became one just now; the next look sees it.
	default:
		v.list.Problems[name] = kindOf(e.Type())
		return nil
	}
	if len(v.list.Files) >= maxFiles {
		return errTooMany
	}
	now, tracked := describe(&st, time.Now()), v.repo.tracked.files[name]
	old, ok := v.before[name]
	if ok && now.sameFile(&old) && (old.Kept || !v.mayKeep(name, &old, tracked)) && (v.start != nil || v.r.has(&old)) {
		v.list.Files[name] = old
		return nil
	}
	read, err := v.read(at, e.Name(), name, tracked)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		v.problem(name, err)
	}
	if err != nil && read.ID == (id{}) {
		// Most likely still the same, when only who may read it has changed.
		if now.ID = now.unread(); ok && now.Inode == old.Inode && now.Size == old.Size && now.ModTime == old.ModTime {
			now.ID, now.Kept, now.Binary = old.ID, old.Kept, old.Binary
		}
		read = now
	}
	v.list.Files[name] = read
	return nil
}
