package config

import (
	"io/fs"
	"os"
	"slices"
	"time"
)

// coarseTime is more than the step of any file system's clock: a file that was
// changed so shortly before it was read may have been changed again unseen.
const coarseTime = 2 * time.Second

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
