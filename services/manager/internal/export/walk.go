package export

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
	"time"
	"unicode"
	"unicode/utf8"
)

// ignoredNames are never exported, at any depth: what tools make and can make
// again (reference behaviour 123).
var ignoredNames = map[string]bool{
	".git": true, ".hg": true, ".svn": true, ".DS_Store": true, "__pycache__": true,
	".pytest_cache": true, ".mypy_cache": true, ".ruff_cache": true, "node_modules": true,
	".venv": true, "venv": true, ".next": true, "dist": true, "build": true,
	// The CLI's folder: its conversation and settings are private.
	".claude_data": true,
}

// Bounds of one export.
const (
	maxFiles = 50_000
	maxBytes = 20 << 30
	maxDepth = 64
	// maxEntries bounds what is looked at, exported or not: folders, links and
	// ignored files cost memory and time too.
	maxEntries = 20 * maxFiles
	// listBatch is how many entries of a folder are read at once.
	listBatch = 1000
)

// file is a file to be exported, as it was when the workspace was walked.
type file struct {
	path    string
	size    int64
	modTime time.Time
}

// ErrTooLarge means that a workspace is over the bounds of an export.
var ErrTooLarge = errors.New("workspace is too large to export")

// list returns the entries of a folder by name, at most limit of them, else
// ErrTooLarge. It never blocks on a FIFO that took the folder's place.
func list(root *os.Root, dir string, limit int) ([]fs.DirEntry, error) {
	in, err := root.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|nonBlock, 0)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	var entries []fs.DirEntry
	for {
		batch, err := in.ReadDir(listBatch)
		entries = append(entries, batch...)
		if len(entries) > limit {
			return nil, fmt.Errorf("%w: it has more than %d files and folders", ErrTooLarge, maxEntries)
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

// walk lists the regular files of a workspace. Links are never followed, and
// what vanishes meanwhile is left out.
func walk(ctx context.Context, root *os.Root, ignoreDotFiles bool) ([]file, error) {
	var files []file
	var bytes int64
	seen := 0
	var visit func(dir string, depth int) error
	visit = func(dir string, depth int) error {
		if depth > maxDepth {
			return fmt.Errorf("%w: folders nest deeper than %d at %s", ErrTooLarge, maxDepth, dir)
		}
		entries, err := list(root, dir, maxEntries-seen)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			return nil // vanished, or no folder any more
		}
		if err != nil {
			return fmt.Errorf("read folder %s: %w", dir, err)
		}
		seen += len(entries)
		for _, e := range entries {
			if err := ctx.Err(); err != nil {
				return err
			}
			if ignored(e.Name(), ignoreDotFiles) {
				continue
			}
			name := path.Join(dir, e.Name())
			if !exportable(name) {
				continue
			}
			if e.IsDir() {
				if err := visit(name, depth+1); err != nil {
					return err
				}
				continue
			}
			if !e.Type().IsRegular() {
				continue
			}
			info, err := e.Info()
			if err != nil {
				continue // vanished
			}
			bytes += info.Size()
			files = append(files, file{path: name, size: info.Size(), modTime: info.ModTime()})
			if len(files) > maxFiles || bytes > maxBytes {
				return fmt.Errorf("%w: more than %d files or %d bytes", ErrTooLarge, maxFiles, int64(maxBytes))
			}
		}
		return nil
	}
	return files, visit(".", 0)
}

func ignored(name string, dotFiles bool) bool {
	return ignoredNames[name] || dotFiles && strings.HasPrefix(name, ".")
}

// maxPath leaves room for the rest of an object key, which has 1024 bytes.
const maxPath = 800

// exportable tells whether a path can be part of an object key; the few that
// cannot are left out, so that they do not cost a user everything else.
func exportable(name string) bool {
	return len(name) <= maxPath && utf8.ValidString(name) && !strings.ContainsFunc(name, unicode.IsControl)
}
