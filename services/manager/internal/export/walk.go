package export

import (
	"context"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/poco-ai/poco/services/manager/internal/tree"
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
var limits = tree.Limits{Entries: maxFiles, Seen: 20 * maxFiles, Bytes: 20 << 30, Depth: 64}

// file is a file to be exported, as it was when the workspace was walked.
type file struct {
	path    string
	size    int64
	modTime time.Time
}

// walk lists the regular files of a workspace.
func walk(ctx context.Context, root *os.Root, ignoreDotFiles bool) ([]file, error) {
	var files []file
	wanted := func(name string, mode fs.FileMode) bool {
		return mode&fs.ModeSymlink == 0 && !ignored(path.Base(name), ignoreDotFiles) && exportable(name)
	}
	err := tree.Walk(ctx, root, limits, wanted, func(name string, info fs.FileInfo) error {
		if info.Mode().IsRegular() {
			files = append(files, file{path: name, size: info.Size(), modTime: info.ModTime()})
		}
		return nil
	})
	return files, err
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
