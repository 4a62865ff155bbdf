package export

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/poco-ai/poco/services/manager/internal/safefs"
)

// ignoredNames are never exported, at any depth: what tools make and can make
// again (reference behaviour 123).
var ignoredNames = map[string]bool{
	".git": true, ".hg": true, ".svn": true, ".DS_Store": true, "__pycache__": true,
	".pytest_cache": true, ".mypy_cache": true, ".ruff_cache": true, "node_modules": true,
	".venv": true, "venv": true, ".next": true, "dist": true, "build": true,
}

// maxFiles of one export.
const maxFiles = 50_000

// limits of one export. What is not exported costs memory and time, too.
var limits = safefs.Limits{Entries: maxFiles, Seen: 20 * maxFiles, Bytes: 20 << 30, Depth: 64}

// file is a file to be exported, as it was when the workspace was walked.
type file struct {
	path    string
	size    int64
	modTime time.Time
}

// found is what a workspace has to export.
type found struct {
	files []file
	links []link
}

// link is a symbolic link. It is exported as what it is: what it leads to is
// exported where it is, or is not the workspace's.
type link struct {
	path, target string
	modTime      time.Time
}

// errLeadsOut: in an archive, a link that leads out could be followed by
// anyone who unpacks it.
var errLeadsOut = errors.New("is a link out of the workspace")

// walk lists what a workspace has, and what of it cannot be exported.
func walk(ctx context.Context, root *os.Root, ignoreDotFiles bool, missing *missing) (found, error) {
	var all found
	wanted := func(name string, mode fs.FileMode) bool {
		return !ignored(path.Base(name), ignoreDotFiles) || mode.IsDir() && isRepository(root, name)
	}
	visit := func(name string, info fs.FileInfo) error {
		switch info.Mode().Type() {
		case fs.ModeDir:
		case fs.ModeSymlink:
			target, err := root.Readlink(name)
			switch {
			case errors.Is(err, fs.ErrNotExist):
			case err != nil:
				missing.add(safefs.Skipped{Path: name, Err: err})
			case !safefs.StaysInside(name, target):
				missing.add(safefs.Skipped{Path: name, Err: fmt.Errorf("%w, to %s", errLeadsOut, display(target))})
			default:
				all.links = append(all.links, link{path: name, target: target, modTime: info.ModTime()})
			}
		default:
			all.files = append(all.files, file{path: name, size: info.Size(), modTime: info.ModTime()})
		}
		return nil
	}
	err := safefs.Walk(ctx, root, limits, wanted, visit, missing.add)
	return all, err
}

func ignored(name string, dotFiles bool) bool {
	return ignoredNames[name] || dotFiles && strings.HasPrefix(name, ".")
}

// isRepository tells whether a folder is the repository that the session works
// on, which may be called ".github" or "dist": its name says nothing then.
func isRepository(root *os.Root, name string) bool {
	if strings.Contains(name, "/") || name == ".git" {
		return false
	}
	_, err := root.Lstat(name + "/.git")
	return err == nil
}
