// Package safefs reads and writes folders that agents work in. Nothing in them
// is trusted: links are never followed, sizes are bounded, and what changes or
// vanishes while it is read does no harm.
package safefs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
)

// Limits bound what is read or written.
type Limits struct {
	// Entries is the most files, folders and links.
	Entries int
	// Seen is the most that is looked at, wanted or not. Only Walk looks at it.
	Seen int
	// Bytes is the most content of all files together.
	Bytes int64
	// Depth is how deep folders may nest.
	Depth int
}

// ErrTooLarge means that a folder is over its limits.
var ErrTooLarge = errors.New("too large")

// Why something is left out, besides what the file system says.
var (
	// ErrSpecial: a device, pipe or socket has no content to be kept.
	ErrSpecial = errors.New("is a device, pipe or socket")
	// ErrTooDeep: it is in more folders than Limits.Depth.
	ErrTooDeep = errors.New("is in too many folders")
	// ErrNoRoom: with it there would be more than Limits.Bytes. It is an
	// ErrTooLarge that only one file has to pay for.
	ErrNoRoom = fmt.Errorf("is %w", ErrTooLarge)
	// ErrTooMany: with it there would be more than Limits.Entries or Limits.Seen.
	ErrTooMany = fmt.Errorf("is one too many, which makes the whole %w", ErrTooLarge)
)

// Skipped is a path that is left out, with all that may be below it.
type Skipped struct {
	// Path is the file's, as the file system has it.
	Path string
	// Err says why.
	Err error
}

// Skip is told what is left out, so that one path does not cost the others.
type Skip func(Skipped)

// budget is what is left of limits.
type budget struct {
	limits  Limits
	entries int
	bytes   int64
}

func (b *budget) take(info fs.FileInfo) error {
	if b.entries >= b.limits.Entries {
		return fmt.Errorf("%w: there are more than %d files, folders and links", ErrTooMany, b.limits.Entries)
	}
	if info.Mode().IsRegular() {
		if size := info.Size(); size < 0 || size > b.limits.Bytes-b.bytes {
			return fmt.Errorf("%w: it has %d bytes, and all together may have %d", ErrNoRoom, size, b.limits.Bytes)
		}
		b.bytes += info.Size()
	}
	b.entries++
	return nil
}

// listBatch is how many entries of a folder are read at once.
const listBatch = 1000

// List returns the entries of a folder by name, at most limit of them, else
// ErrTooLarge. It never blocks on a FIFO that took the folder's place.
func List(root *os.Root, dir string, limit int) ([]fs.DirEntry, error) {
	in, err := root.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	var entries []fs.DirEntry
	for {
		batch, err := in.ReadDir(listBatch)
		entries = append(entries, batch...)
		if len(entries) > limit {
			return nil, fmt.Errorf("%w: there are more than %d in it and in what was looked at before", ErrTooMany, limit)
		}
		if errors.Is(err, io.EOF) {
			slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
			return entries, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// Walk calls visit for every folder, regular file and symbolic link below root,
// in order, a folder before what is in it and after the files beside it: where
// there are too many, what lies deeper has to go. What wanted refuses is left out, with
// all below it; so is what vanishes meanwhile. What cannot be visited goes to
// skip, and the rest is visited all the same: an error is one of visit's, of the
// context, or of root itself. Only what is visited counts for the
// limits.
func Walk(ctx context.Context, root *os.Root, limits Limits, wanted func(name string, mode fs.FileMode) bool, visit func(name string, info fs.FileInfo) error, skip Skip) error {
	w := walker{ctx: ctx, root: root, budget: budget{limits: limits}, wanted: wanted, visit: visit, skip: skip}
	entries, err := List(root, ".", limits.Seen)
	if err != nil {
		return fmt.Errorf("read the folder: %w", err)
	}
	return w.entries(".", entries, 0)
}

type walker struct {
	ctx    context.Context
	root   *os.Root
	budget budget
	seen   int
	wanted func(string, fs.FileMode) bool
	visit  func(string, fs.FileInfo) error
	skip   Skip
}

func (w *walker) folder(dir string, depth int) error {
	if depth > w.budget.limits.Depth {
		w.skip(Skipped{Path: dir, Err: fmt.Errorf("%w: more than %d", ErrTooDeep, w.budget.limits.Depth)})
		return nil
	}
	entries, err := List(w.root, dir, w.budget.limits.Seen-w.seen)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
		return nil // vanished, or no folder any more
	case err != nil:
		if errors.Is(err, ErrTooMany) {
			w.seen = w.budget.limits.Seen // No other large one is read in vain.
		}
		w.skip(Skipped{Path: dir, Err: err})
		return nil
	}
	return w.entries(dir, entries, depth)
}

func (w *walker) entries(dir string, entries []fs.DirEntry, depth int) error {
	w.seen += len(entries)
	slices.SortStableFunc(entries, func(a, b fs.DirEntry) int {
		switch {
		case a.IsDir() == b.IsDir():
			return 0
		case a.IsDir():
			return 1
		default:
			return -1
		}
	})
	for _, e := range entries {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		if err := w.entry(path.Join(dir, e.Name()), e, depth); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) entry(name string, e fs.DirEntry, depth int) error {
	if !w.wanted(name, e.Type()) {
		return nil
	}
	info, err := w.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		w.skip(Skipped{Path: name, Err: err})
		return nil //nolint:nilerr // It has been told.
	}
	mode := info.Mode()
	switch {
	case mode.Type() != e.Type():
		return nil // became something else, about which wanted was not asked
	case !mode.IsDir() && !mode.IsRegular() && mode&fs.ModeSymlink == 0:
		w.skip(Skipped{Path: name, Err: ErrSpecial})
		return nil
	}
	if err := w.budget.take(info); err != nil {
		w.skip(Skipped{Path: name, Err: err})
		return nil //nolint:nilerr // It has been told.
	}
	if err := w.visit(name, info); err != nil || !mode.IsDir() {
		return err
	}
	return w.folder(name, depth+1)
}
