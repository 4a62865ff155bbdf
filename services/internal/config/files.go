package config

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// coarseTime is more than the step of any file system's clock: a file that was
	// changed so shortly before it was read may have been changed again unseen.
	coarseTime = 2 * time.Second
	// maxLinks is how many symbolic links a path may lead over, as on Linux.
	maxLinks = 40
)

// stamps are the files that were read, as they were just before.
type stamps []stamp

type stamp struct {
	path string
	// info is nil when there was no such file.
	info fs.FileInfo
	// sure tells that any change since shows.
	sure bool
}

// add notes a file that is about to be read, or tried.
func (s *stamps) add(path string) {
	info, err := os.Stat(path)
	if err != nil {
		info = nil
	}
	sure := info == nil || time.Since(info.ModTime()).Abs() > coarseTime
	*s = append(*s, stamp{path, info, sure})
}

// doubt notes that the file added last could not be read. What was in the way,
// its owner for example, may change without a trace in the stamp.
func (s stamps) doubt() { s[len(s)-1].sure = false }

// changed tells whether a file may be another one by now.
func (s stamps) changed() bool {
	return slices.ContainsFunc(s, stamp.changed)
}

func (s stamp) changed() bool {
	info, err := os.Stat(s.path)
	switch {
	case err != nil:
		return s.info != nil
	case s.info == nil || !s.sure:
		return true
	default:
		return !os.SameFile(info, s.info) || info.Size() != s.info.Size() ||
			!info.ModTime().Equal(s.info.ModTime()) || info.Mode() != s.info.Mode()
	}
}

// folders are those in which a change can change what the files hold.
func (s stamps) folders() []string {
	var out []string
	for _, file := range s {
		out = append(out, foldersOf(file.path)...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// foldersOf are the folder of a file and those of each symbolic link on the way
// to it. When something is missing, it is the folder in which it is.
func foldersOf(path string) []string {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil
	}
	var out []string
	root := filepath.VolumeName(path) + string(filepath.Separator)
	folder, rest := root, split(path[len(root):])
	for links := 0; len(rest) > 0 && links < maxLinks; {
		here := filepath.Join(folder, rest[0])
		rest = rest[1:]
		info, err := os.Lstat(here)
		switch {
		case err != nil:
			return append(out, folder)
		case info.Mode()&fs.ModeSymlink != 0:
			out = append(out, folder)
			target, err := os.Readlink(here)
			if err != nil {
				return out
			}
			if filepath.IsAbs(target) {
				folder, target = root, strings.TrimPrefix(target, root)
			}
			rest = append(split(target), rest...)
			links++
		case len(rest) == 0:
			return append(out, folder)
		default:
			folder = here
		}
	}
	return out
}

func split(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == filepath.Separator })
}
