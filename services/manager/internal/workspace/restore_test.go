package workspace_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/testkit"
	"github.com/poco-ai/poco/services/manager/internal/safefs"
	"github.com/poco-ai/poco/services/manager/internal/workspace"
)

// packed is a snapshot of a folder with one file, for a session.
func packed(t *testing.T, session string) (key string, objects uploads) {
	dir := t.TempDir()
	for _, name := range []string{"workspace/sub/new", "state/claude/conversation", "meta.json"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("new"), 0o600))
	}
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	var archive bytes.Buffer
	require.NoError(t, safefs.Pack(t.Context(), &archive, root, workspace.SnapshotLimits, workspace.Kept, func(s safefs.Skipped) { t.Error(s) }))
	key = "private/snapshots/default/" + session + "/run.tar.zst"
	return key, uploads{key: archive.String()}
}

func TestRestoreReplacesAllOrNothing(t *testing.T) {
	session := uuid.NewString()
	key, objects := packed(t, session)
	s := open(t, objects)
	folders, err := s.Prepare("default", session, uuid.NewString())
	require.NoError(t, err)
	dir := folders.Workspace
	old := []string{filepath.Join(dir, "old"), filepath.Join(folders.State, "old")}
	for _, name := range old {
		require.NoError(t, os.WriteFile(name, nil, 0o644))
	}
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "locked", "deep"), 0o755))
	require.NoError(t, os.Chmod(filepath.Join(dir, "locked"), 0o555))

	objects["private/snapshots/default/"+session+"/broken"] = objects[key][:len(objects[key])/2]
	require.Error(t, s.Restore(t.Context(), "default", session, "private/snapshots/default/"+session+"/broken"))
	require.ErrorIs(t, s.Restore(t.Context(), "default", session, "private/snapshots/default/"+session+"/none"), workspace.ErrNoSnapshot)
	for _, foreign := range []string{"private/snapshots/other/" + session + "/x", "workspaces/default/" + session + "/archive.zip"} {
		require.ErrorContains(t, s.Restore(t.Context(), "default", session, foreign), "no snapshot of this session")
	}
	for _, name := range old {
		require.FileExists(t, name)
	}

	require.NoError(t, s.Restore(t.Context(), "default", session, key))
	for _, name := range old {
		require.NoFileExists(t, name)
	}
	require.FileExists(t, filepath.Join(dir, "sub", "new"))
	require.FileExists(t, filepath.Join(folders.State, "claude", "conversation"))
	entries, err := os.ReadDir(s.SessionDir("default", session))
	require.NoError(t, err)
	require.Len(t, entries, 3, "the workspace, the state and meta.json")
}

// What an agent has locked is prepared, replaced, archived and removed like all
// else, also by a manager that is not root; what a link leads to stays as it is.
func TestALockedWorkspace(t *testing.T) {
	if !testkit.Unprivileged(t) {
		return
	}
	session := uuid.NewString()
	key, objects := packed(t, session)
	objects["attachments/default/f"] = "x"
	for name, use := range map[string]func(*workspace.Store) error{
		"prepare": func(s *workspace.Store) error {
			_, err := s.Prepare("default", session, uuid.NewString())
			require.NoError(t, err)
			_, err = s.StageInputs(t.Context(), "default", session, nil, []*backendv1.InputFile{file("a/f", "attachments/default/f")})
			return err
		},
		"restore": func(s *workspace.Store) error { return s.Restore(t.Context(), "default", session, key) },
		"remove":  func(s *workspace.Store) error { return s.Remove("default", session) },
		"archive": func(s *workspace.Store) error {
			require.NoError(t, s.Retire("default", session, time.Now(), false))
			return s.EmptyArchive(t.Context(), time.Now())
		},
	} {
		for _, mode := range []os.FileMode{0, 0o555} {
			t.Run(fmt.Sprintf("%s %o", name, mode), func(t *testing.T) {
				s, outside := open(t, objects), t.TempDir()
				folders, err := s.Prepare("default", session, uuid.NewString())
				require.NoError(t, err)
				require.NoError(t, s.Ended("default", session))
				require.NoError(t, os.Symlink(outside, filepath.Join(folders.Workspace, "link")))
				require.NoError(t, os.Chmod(outside, 0o500))
				for _, dir := range []string{folders.State, folders.Workspace} {
					inner := filepath.Join(dir, "inputs", "a")
					require.NoError(t, os.MkdirAll(inner, 0o755))
					require.NoError(t, os.WriteFile(filepath.Join(inner, "old"), nil, 0o644))
					for _, locked := range []string{inner, filepath.Dir(inner), dir} {
						require.NoError(t, os.Chmod(locked, mode))
					}
				}
				require.NoError(t, use(s))
				if name != "prepare" {
					require.NoFileExists(t, filepath.Join(folders.Workspace, "inputs", "a", "old"))
				}
				info, err := os.Stat(outside)
				require.NoError(t, err)
				require.Equal(t, os.FileMode(0o500), info.Mode().Perm())
				require.NoError(t, s.Remove("default", session))
			})
		}
	}
}

func TestARestoredWorkspaceBelongsToTheExecutorsUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	session := uuid.NewString()
	key, objects := packed(t, session)
	s, err := workspace.Open(t.TempDir(), 1000, 1000, objects)
	require.NoError(t, err)
	require.NoError(t, s.Restore(t.Context(), "default", session, key))
	folders, err := s.Prepare("default", session, uuid.NewString())
	require.NoError(t, err)
	dir := folders.Workspace
	for _, name := range []string{"", "sub", "sub/new", "../state", "../state/claude/conversation"} {
		require.Equal(t, 1000, ownerOf(t, filepath.Join(dir, name)), name)
	}
}

func TestRetire(t *testing.T) {
	session := uuid.NewString()
	objects := uploads{"k": "snapshot"}
	s := open(t, objects)
	folders, err := s.Prepare("default", session, uuid.NewString())
	require.NoError(t, err)
	dir := folders.Workspace
	begun := time.Now()
	require.ErrorIs(t, s.Retire("default", session, begun.Add(-time.Hour), true), workspace.ErrInUse)
	require.ErrorIs(t, s.Retire("default", session, time.Now(), true), workspace.ErrNotKept)
	require.NoError(t, s.Snapshotted("default", session, "k", true))
	_, err = s.Prepare("default", session, uuid.NewString())
	require.NoError(t, err)
	require.ErrorIs(t, s.Retire("default", session, time.Now(), true), workspace.ErrNotKept, "a run has used it since")
	require.NoError(t, s.Snapshotted("default", session, "k", true))
	require.NoError(t, s.Ended("default", session))
	require.NoError(t, s.Retire("default", session, time.Now(), true))
	require.NoDirExists(t, dir)

	require.NoError(t, s.EmptyArchive(t.Context(), begun))
	require.Contains(t, objects, "k")
	require.NoError(t, s.EmptyArchive(t.Context(), time.Now()))
	require.Empty(t, objects)
}
