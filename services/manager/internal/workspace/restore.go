package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"github.com/poco-ai/poco/services/internal/journal"
	"github.com/poco-ai/poco/services/internal/objectstore"
	"github.com/poco-ai/poco/services/internal/unlock"
	"github.com/poco-ai/poco/services/manager/internal/safefs"
)

// SnapshotLimits bound a snapshot, which has what exports leave out, too:
// repositories and installed packages.
var SnapshotLimits = safefs.Limits{Entries: 500_000, Seen: 500_000, Bytes: 20 << 30, Depth: 200}

// ErrNoSnapshot means that a session's snapshot is not there any more.
var ErrNoSnapshot = errors.New("the snapshot is no longer in object storage")

const (
	restoringDir = "restoring"
	replacedDir  = "replaced"
)

// Kept tells what of a session's folder belongs into its snapshot: the
// workspace, and what executors keep beside it.
func Kept(name string, _ fs.FileMode) bool {
	// What is still to be delivered is this disk's.
	if name == path.Join(stateDir, journal.DirName) {
		return false
	}
	top, _, _ := strings.Cut(name, "/")
	return top == workspaceDir || top == stateDir
}

// Has tells whether a session has a workspace on this disk.
func (s *Store) Has(userID, sessionID string) bool {
	info, err := os.Stat(s.Dir(userID, sessionID))
	return err == nil && info.IsDir()
}

// Restore puts the folders of a snapshot in place of what is there: a broken
// download leaves everything as it was. The workspace goes first and comes last,
// so that a session that has one has all of it. Prepare comes after it.
func (s *Store) Restore(ctx context.Context, userID, sessionID, key string) error {
	if _, err := uuid.Parse(sessionID); err != nil {
		return fmt.Errorf("session id %q is not a UUID", sessionID)
	}
	if !strings.HasPrefix(key, objectstore.SnapshotPrefix(userID, sessionID)) {
		return fmt.Errorf("%q is no snapshot of this session", key)
	}
	body, _, err := s.objects.Get(ctx, key)
	if errors.Is(err, objectstore.ErrNotFound) {
		return ErrNoSnapshot
	}
	if err != nil {
		return err
	}
	defer body.Close()
	session := s.SessionDir(userID, sessionID)
	restoring, replaced := filepath.Join(session, restoringDir), filepath.Join(session, replacedDir)
	// What an earlier try may have left.
	if err := errors.Join(removeAll(restoring), removeAll(replaced)); err != nil {
		return err
	}
	if err := os.MkdirAll(restoring, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(restoring)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := safefs.Unpack(ctx, body, root, SnapshotLimits, s.permissions); err != nil {
		return errors.Join(err, removeAll(restoring))
	}
	if err := os.MkdirAll(replaced, 0o755); err != nil {
		return err
	}
	for _, m := range []struct{ name, from, to string }{
		{workspaceDir, session, replaced}, {stateDir, session, replaced},
		{stateDir, restoring, session}, {workspaceDir, restoring, session},
	} {
		err := move(filepath.Join(m.from, m.name), filepath.Join(m.to, m.name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	// The snapshot is in use again: it does not expire as an archive.
	archived := filepath.Join(s.root, archivedDir, objectstore.UserPart(userID), sessionID)
	err = s.change(userID, sessionID, func(m *Meta) { m.SnapshotKey, m.SnapshotCurrent = key, true })
	return errors.Join(err, removeAll(archived), removeAll(replaced), removeAll(restoring))
}

// permissions opens what is restored to the executor's user where files cannot
// be given to it, as own does with the folder itself.
func (s *Store) permissions(mode fs.FileMode) fs.FileMode {
	if s.uid < 0 || s.uid == os.Geteuid() || os.Geteuid() == 0 {
		return mode
	}
	owner := mode & 0o700
	return mode | owner>>3 | owner>>6
}

// move puts a folder elsewhere even when an agent has locked it.
func move(from, to string) error {
	if err := os.Rename(from, to); err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return errors.Join(unlock.Folder(from), os.Rename(from, to))
}

// removeAll removes a folder even when an agent has locked it, or folders in it.
func removeAll(dir string) error {
	if err := os.RemoveAll(dir); err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return errors.Join(unlock.Folders(dir), os.RemoveAll(dir))
}
