// Package workspace keeps the sessions' workspaces on the manager's disk.
//
//	<root>/active/<user part>/<session id>/workspace   the agent's, mounted at /workspace
//	<root>/active/<user part>/<session id>/state       the executor's, mounted outside of it
//	<root>/active/<user part>/<session id>/meta.json
//	<root>/archived/<user part>/<session id>/meta.json   removed, kept as a snapshot
package workspace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/poco-ai/poco/services/internal/disk"
	"github.com/poco-ai/poco/services/internal/journal"
	"github.com/poco-ai/poco/services/internal/objectstore"
	"github.com/poco-ai/poco/services/internal/unlock"
)

const (
	activeDir    = "active"
	archivedDir  = "archived"
	workspaceDir = "workspace"
	stateDir     = "state"
	metaName     = "meta.json"
	// inputsDir is where input files are put, inside a workspace.
	inputsDir = "inputs"
)

// ErrMissing means that a session has no workspace on this disk.
var ErrMissing = errors.New("no workspace of this session on this manager's disk")

// Store is the folder that all workspaces are in.
type Store struct {
	root     string
	uid, gid int
	objects  Objects
}

// Open returns the store in root. Workspaces are made to belong to uid and
// gid, the user that executors run as; -1 leaves them as they are.
func Open(root string, uid, gid int, objects Objects) (*Store, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(abs, activeDir), 0o755); err != nil {
		return nil, fmt.Errorf("WORKSPACE_ROOT %s is not usable: %w", abs, err)
	}
	return &Store{root: abs, uid: uid, gid: gid, objects: objects}, nil
}

// Root is the folder all workspaces are in.
func (s *Store) Root() string { return s.root }

// SessionDir is the folder of a session.
func (s *Store) SessionDir(userID, sessionID string) string {
	return filepath.Join(s.root, activeDir, objectstore.UserPart(userID), sessionID)
}

// Dir is the workspace of a session, whether it exists or not.
func (s *Store) Dir(userID, sessionID string) string {
	return filepath.Join(s.SessionDir(userID, sessionID), workspaceDir)
}

// StateDir is where a session's executors keep what the agent must not lose:
// its conversation, and what was recorded of its work.
func (s *Store) StateDir(userID, sessionID string) string {
	return filepath.Join(s.SessionDir(userID, sessionID), stateDir)
}

// Folders are what an executor gets of a session.
type Folders struct {
	// Workspace is the agent's, State the executor's own.
	Workspace, State string
}

// Prepare makes a session's folders ready for a run. What is in them from
// earlier runs stays.
func (s *Store) Prepare(userID, sessionID, runID string) (Folders, error) {
	// The id becomes a path: nothing but a UUID may.
	if _, err := uuid.Parse(sessionID); err != nil {
		return Folders{}, fmt.Errorf("session id %q is not a UUID", sessionID)
	}
	folders := Folders{Workspace: s.Dir(userID, sessionID), State: s.StateDir(userID, sessionID)}
	for _, dir := range []string{folders.Workspace, folders.State} {
		if err := s.prepare(dir); err != nil {
			return Folders{}, err
		}
	}
	// Where the manager itself reads and writes; all else is the executor's to
	// open. One that is not there, or no folder, is told by what follows.
	for _, dir := range []string{filepath.Join(folders.Workspace, inputsDir), filepath.Join(folders.State, journal.DirName)} {
		_ = unlock.Folders(dir)
	}
	return folders, s.change(userID, sessionID, func(m *Meta) {
		m.RunID, m.LastUsedAt, m.SnapshotCurrent = runID, time.Now().UTC(), false
	})
}

func (s *Store) prepare(dir string) error {
	name := filepath.Base(dir)
	if info, err := os.Lstat(dir); err == nil && !info.IsDir() {
		if err := os.Rename(dir, dir+"-moved-"+uuid.NewString()); err != nil {
			return fmt.Errorf("%s is no folder: %w", name, err)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("%s cannot be created: %w", name, err)
	}
	if err := s.own(dir); err != nil {
		return err
	}
	if err := unlock.Folder(dir); err != nil {
		return fmt.Errorf("%s cannot be opened to its owner: %w", name, err)
	}
	if err := writable(dir); err != nil {
		return fmt.Errorf("%s is not writable: %w", name, err)
	}
	return nil
}

// own makes a folder writable for the executor's user. What is inside was
// made by that user, unless it comes from another runtime.
func (s *Store) own(dir string) error {
	if s.uid < 0 || s.uid == os.Geteuid() {
		return nil
	}
	if os.Geteuid() == 0 {
		if err := s.giveAway(dir); err != nil {
			return fmt.Errorf("%s cannot be given to the executor's user %d: %w", filepath.Base(dir), s.uid, err)
		}
		return nil
	}
	// An ordinary user cannot give files away: everybody may write, inside a
	// folder that only this machine's users reach.
	if err := os.Chmod(dir, 0o777); err != nil {
		return fmt.Errorf("%s cannot be opened to the executor's user %d: %w", filepath.Base(dir), s.uid, err)
	}
	return nil
}

// giveAway makes a folder and all in it belong to the executor's user, if
// it does not yet. Links are given away themselves, never what they point to.
func (s *Store) giveAway(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) == s.uid {
		return nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	err = fs.WalkDir(root.FS(), ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		// The folder itself comes last, below: until then this is done again.
		if name == "." {
			return nil
		}
		return root.Lchown(name, s.uid, s.gid)
	})
	if err != nil {
		return err
	}
	return os.Lchown(dir, s.uid, s.gid)
}

func writable(dir string) error {
	f, err := os.CreateTemp(dir, ".poco-writable-*")
	if disk.Full(err) {
		return nil // The agent may be there to clean up.
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// OpenWorkspace opens a session's workspace for reading; no path leads out of
// it, whatever links the agent has made.
func (s *Store) OpenWorkspace(userID, sessionID string) (*os.Root, error) {
	return open(sessionID, s.Dir(userID, sessionID))
}

// OpenState is OpenWorkspace for what executors keep beside it.
func (s *Store) OpenState(userID, sessionID string) (*os.Root, error) {
	return open(sessionID, s.StateDir(userID, sessionID))
}

// OpenSession opens a session's folder with both in it. Kept says what belongs
// into a snapshot.
func (s *Store) OpenSession(userID, sessionID string) (*os.Root, error) {
	return open(sessionID, s.SessionDir(userID, sessionID))
}

func open(sessionID, dir string) (*os.Root, error) {
	if _, err := uuid.Parse(sessionID); err != nil {
		return nil, fmt.Errorf("session id %q is not a UUID", sessionID)
	}
	switch info, err := os.Lstat(dir); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, ErrMissing
	case err != nil:
		return nil, err
	case !info.IsDir(): // Agents that share the manager's user can put a link there.
		return nil, &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR}
	}
	return os.OpenRoot(dir)
}
