// Package tree reads and writes folders that agents work in. Nothing in them
// is trusted: links are never followed, sizes are bounded, and what changes or
// vanishes while it is read does no harm.
package tree

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

// budget is what is left of limits.
type budget struct {
	limits  Limits
	entries int
	bytes   int64
}

func (b *budget) take(info fs.FileInfo) error {
	b.entries++
	if info.Mode().IsRegular() {
		b.bytes += info.Size()
	}
	if b.entries > b.limits.Entries || b.bytes > b.limits.Bytes || b.bytes < 0 {
		return fmt.Errorf("%w: more than %d entries or %d bytes", ErrTooLarge, b.limits.Entries, b.limits.Bytes)
	}
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
			return nil, fmt.Errorf("%w: too many files and folders, at %s", ErrTooLarge, dir)
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
// in order, a folder before what is in it. What wanted refuses is left out,
// with all below it; so is what vanishes meanwhile. Only what is visited counts
// for the limits.
func Walk(ctx context.Context, root *os.Root, limits Limits, wanted func(name string, mode fs.FileMode) bool, visit func(name string, info fs.FileInfo) error) error {
	w := walker{ctx: ctx, root: root, budget: budget{limits: limits}, wanted: wanted, visit: visit}
	return w.folder(".", 0)
}

type walker struct {
	ctx    context.Context
	root   *os.Root
	budget budget
	seen   int
	wanted func(string, fs.FileMode) bool
	visit  func(string, fs.FileInfo) error
}

func (w *walker) folder(dir string, depth int) error {
	if depth > w.budget.limits.Depth {
		return fmt.Errorf("%w: folders nest deeper than %d at %s", ErrTooLarge, w.budget.limits.Depth, dir)
	}
	entries, err := List(w.root, dir, w.budget.limits.Seen-w.seen)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil // vanished, or no folder any more
	}
	if err != nil {
		return fmt.Errorf("read folder %s: %w", dir, err)
	}
	w.seen += len(entries)
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
	mode := e.Type()
	if !mode.IsDir() && !mode.IsRegular() && mode&fs.ModeSymlink == 0 || !w.wanted(name, mode) {
		return nil
	}
	info, err := w.root.Lstat(name)
	if err != nil || info.Mode().Type() != mode {
		return nil //nolint:nilerr // vanished, or became something else
	}
	if err := w.budget.take(info); err != nil {
		return err
	}
	if err := w.visit(name, info); err != nil || !mode.IsDir() {
		return err
	}
	return w.folder(name, depth+1)
}
