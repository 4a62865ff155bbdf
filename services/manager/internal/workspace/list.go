package workspace

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Listed is one workspace on disk.
type Listed struct {
	UserPath  string
	SessionID string
	CreatedAt time.Time
	LastUsed  time.Time
}

// List returns up to limit workspaces whose "<user part>/<session id>" comes
// after the given one, in that order.
func (s *Store) List(after string, limit int) ([]Listed, error) {
	var out []Listed
	err := s.each(activeDir, after, func(user, session string) bool {
		l := Listed{UserPath: user, SessionID: session}
		if m, err := readMeta(filepath.Join(s.root, activeDir, user, session)); err == nil {
			l.CreatedAt, l.LastUsed = m.CreatedAt, m.LastUsedAt
		}
		out = append(out, l)
		return len(out) < limit
	})
	return out, err
}

// Stats is the disk and how many workspaces are on it.
type Stats struct {
	DiskTotal, DiskFree int64
	Workspaces          int
}

// Stats counts workspaces and asks the file system for its space.
func (s *Store) Stats() (Stats, error) {
	var st Stats
	var disk unix.Statfs_t
	if err := unix.Statfs(s.root, &disk); err != nil {
		return st, err
	}
	st.DiskTotal = int64(disk.Blocks) * int64(disk.Bsize) //nolint:unconvert // Bsize is int32 on other platforms
	st.DiskFree = int64(disk.Bavail) * int64(disk.Bsize)  //nolint:unconvert // likewise
	err := s.each(activeDir, "", func(string, string) bool { st.Workspaces++; return true })
	return st, err
}

// each calls yield for every session in a folder of the store, in order, until
// it returns false.
func (s *Store) each(folder, after string, yield func(user, session string) bool) error {
	afterUser, afterSession, _ := strings.Cut(after, "/")
	users, err := os.ReadDir(filepath.Join(s.root, folder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, user := range users {
		if user.Name() < afterUser {
			continue
		}
		sessions, err := os.ReadDir(filepath.Join(s.root, folder, user.Name()))
		if errors.Is(err, fs.ErrNotExist) || !user.IsDir() {
			continue
		}
		if err != nil {
			return err
		}
		for _, session := range sessions {
			if user.Name() == afterUser && session.Name() <= afterSession || !session.IsDir() {
				continue
			}
			if !yield(user.Name(), session.Name()) {
				return nil
			}
		}
	}
	return nil
}
