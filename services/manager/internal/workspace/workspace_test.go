package workspace_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/objectstore"
	"github.com/poco-ai/poco/services/manager/internal/workspace"
)

// uploads is an object store of attachments.
type uploads map[string]string

func (u uploads) Get(_ context.Context, key string) (io.ReadCloser, objectstore.Object, error) {
	content, ok := u[key]
	if !ok {
		return nil, objectstore.Object{}, objectstore.ErrNotFound
	}
	return io.NopCloser(strings.NewReader(content)), objectstore.Object{Key: key, Size: int64(len(content))}, nil
}

func (u uploads) Delete(_ context.Context, keys ...string) error {
	for _, key := range keys {
		delete(u, key)
	}
	return nil
}

func open(t *testing.T, objects uploads) *workspace.Store {
	s, err := workspace.Open(t.TempDir(), -1, -1, objects)
	require.NoError(t, err)
	return s
}

func TestPrepareKeepsWhatIsThere(t *testing.T) {
	s := open(t, nil)
	session := uuid.NewString()
	folders, err := s.Prepare("default", session, uuid.NewString())
	require.NoError(t, err)
	dir := folders.Workspace
	require.Equal(t, filepath.Join(s.Root(), "active", "default", session, "workspace"), dir)
	require.Equal(t, filepath.Join(filepath.Dir(dir), "state"), folders.State)
	require.DirExists(t, folders.State)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "kept"), []byte("x"), 0o644))
	again, err := s.Prepare("default", session, uuid.NewString())
	require.NoError(t, err)
	require.Equal(t, folders, again)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "and leaves nothing of its own")
}

func TestPrepareUnlocksTheWorkspace(t *testing.T) {
	s := open(t, nil)
	session := uuid.NewString()
	folders, err := s.Prepare("default", session, uuid.NewString())
	require.NoError(t, err)
	dir := folders.Workspace
	require.NoError(t, os.Chmod(dir, 0))
	_, err = s.Prepare("default", session, uuid.NewString())
	require.NoError(t, err)
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
}

// TestFoldersThatAreNone: an agent with the manager's user can put anything in
// the place of a session's folders.
func TestFoldersThatAreNone(t *testing.T) {
	for name, put := range map[string]func(string) error{
		"link": func(dir string) error { return os.Symlink("/etc", dir) }, "dead link": func(dir string) error { return os.Symlink("/nowhere", dir) },
		"file": func(dir string) error { return os.WriteFile(dir, nil, 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, nil)
			session := uuid.NewString()
			folders, err := s.Prepare("default", session, uuid.NewString())
			require.NoError(t, err)
			for _, dir := range []string{folders.Workspace, folders.State} {
				require.NoError(t, os.Remove(dir))
				require.NoError(t, put(dir))
			}
			_, err = s.OpenWorkspace("default", session)
			require.ErrorIs(t, err, syscall.ENOTDIR, "nothing else is exported")
			_, err = s.OpenState("default", session)
			require.ErrorIs(t, err, syscall.ENOTDIR)
			_, err = s.Prepare("default", session, uuid.NewString())
			require.NoError(t, err)
			for _, dir := range []string{folders.Workspace, folders.State} {
				info, err := os.Lstat(dir)
				require.NoError(t, err)
				require.True(t, info.IsDir())
			}
		})
	}
}

func TestUsersStayApart(t *testing.T) {
	s := open(t, nil)
	session := uuid.NewString()
	folders, err := s.Prepare("../../etc", session, uuid.NewString())
	require.NoError(t, err)
	dir := folders.Workspace
	rel, err := filepath.Rel(s.Root(), dir)
	require.NoError(t, err)
	require.True(t, filepath.IsLocal(rel))
	_, err = s.OpenWorkspace("default", session)
	require.ErrorIs(t, err, workspace.ErrMissing)
	for _, bad := range []string{"", "..", "../x", "a/b"} {
		_, err := s.Prepare("default", bad, uuid.NewString())
		require.Error(t, err, bad)
		_, err = s.OpenWorkspace("default", bad)
		require.Error(t, err, bad)
	}
}

func TestAWorkspaceThatCannotBeWritten(t *testing.T) {
	s := open(t, nil)
	session := uuid.NewString()
	file := s.SessionDir("default", session)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, nil, 0o644), "a file where the folder should be")
	_, err := s.Prepare("default", session, uuid.NewString())
	require.ErrorContains(t, err, "workspace cannot be created")

	_, err = workspace.Open(filepath.Join(file, "below-a-file"), -1, -1, nil)
	require.ErrorContains(t, err, "WORKSPACE_ROOT")
}

func TestWorkspacesBelongToTheExecutorsUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	s, err := workspace.Open(t.TempDir(), 1000, 1000, uploads{"attachments/default/f": "x"})
	require.NoError(t, err)
	session := uuid.NewString()
	folders, err := s.Prepare("default", session, uuid.NewString())
	require.NoError(t, err)
	dir := folders.Workspace
	_, err = s.StageInputs(t.Context(), "default", session, nil, []*backendv1.InputFile{file("a/b/f", "attachments/default/f")})
	require.NoError(t, err)
	for _, path := range []string{"", "inputs", "inputs/a", "inputs/a/b/f"} {
		require.Equal(t, 1000, ownerOf(t, filepath.Join(dir, path)), path)
	}

	// A workspace that another runtime worked in, with a link out of it.
	outside := filepath.Join(t.TempDir(), "outside")
	require.NoError(t, os.WriteFile(outside, nil, 0o644))
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "link")))
	require.NoError(t, os.Chown(filepath.Join(dir, "inputs", "a"), 0, 0))
	require.NoError(t, os.Chown(dir, 0, 0))
	_, err = s.Prepare("default", session, uuid.NewString())
	require.NoError(t, err)
	require.Equal(t, 1000, ownerOf(t, filepath.Join(dir, "inputs", "a")))
	require.Equal(t, 1000, ownerOf(t, dir))
	require.Equal(t, 0, ownerOf(t, outside))
}

func file(path, source string) *backendv1.InputFile {
	return &backendv1.InputFile{Name: "f", Path: path, Source: &backendv1.InputFile_Attachment{Attachment: source}}
}

func TestStageInputs(t *testing.T) {
	s := open(t, uploads{
		"attachments/default/1/data.csv": "a,b", "attachments/other/1/secret": "secret", "workspaces/default/x": "no upload",
	})
	session := uuid.NewString()
	folders, err := s.Prepare("default", session, uuid.NewString())
	require.NoError(t, err)
	dir := folders.Workspace
	stage := func(f *backendv1.InputFile) error {
		_, err := s.StageInputs(t.Context(), "default", session, nil, []*backendv1.InputFile{f})
		return err
	}
	require.NoError(t, stage(file("data/data.csv", "attachments/default/1/data.csv")))
	require.NoError(t, stage(file("data/data.csv", "attachments/default/1/data.csv")), "again, as a follow-up does")
	b, err := os.ReadFile(filepath.Join(dir, "inputs", "data", "data.csv"))
	require.NoError(t, err)
	require.Equal(t, "a,b", string(b))

	for name, f := range map[string]*backendv1.InputFile{
		"another user's":     file("x", "attachments/other/1/secret"),
		"by going up":        file("x", "attachments/default/../other/1/secret"),
		"not an attachment":  file("x", "workspaces/default/x"),
		"missing":            file("x", "attachments/default/none"),
		"out of the folder":  file("../../x", "attachments/default/1/data.csv"),
		"an absolute path":   file("/etc/x", "attachments/default/1/data.csv"),
		"the folder itself":  file(".", "attachments/default/1/data.csv"),
		"below another file": file("data/data.csv/x", "attachments/default/1/data.csv"),
	} {
		require.Error(t, stage(f), name)
	}

	// The agent may have put links anywhere.
	outside := t.TempDir()
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "inputs", "link")))
	require.Error(t, stage(file("link/x", "attachments/default/1/data.csv")))
	entries, err := os.ReadDir(outside)
	require.NoError(t, err)
	require.Empty(t, entries)
}

// What the agent left in inputs/ neither blocks nor misleads the manager.
func TestStageInputsOverSpecialFiles(t *testing.T) {
	s := open(t, uploads{"attachments/default/f": "new"})
	session := uuid.NewString()
	folders, err := s.Prepare("default", session, uuid.NewString())
	require.NoError(t, err)
	dir := folders.Workspace
	inputs, outside := filepath.Join(dir, "inputs"), t.TempDir()
	stage := func() {
		_, err := s.StageInputs(t.Context(), "default", session, nil, []*backendv1.InputFile{file("f", "attachments/default/f")})
		require.NoError(t, err)
		b, err := os.ReadFile(filepath.Join(inputs, "f"))
		require.NoError(t, err)
		require.Equal(t, "new", string(b))
	}
	require.NoError(t, os.Mkdir(inputs, 0o755))
	require.NoError(t, syscall.Mkfifo(filepath.Join(inputs, "f"), 0o644))
	require.NoError(t, syscall.Mkfifo(filepath.Join(inputs, "f.poco-part"), 0o644))
	stage()
	for _, target := range []string{outside, "/nonexistent", "inputs"} {
		require.NoError(t, os.RemoveAll(inputs))
		require.NoError(t, os.Symlink(target, inputs))
		stage()
	}
	entries, err := os.ReadDir(outside)
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestList(t *testing.T) {
	s := open(t, nil)
	var want []string
	for _, user := range []string{"a", "a-b", "b"} {
		for i := range 2 {
			session := fmt.Sprintf("00000000-0000-0000-0000-00000000000%d", i)
			_, err := s.Prepare(user, session, uuid.NewString())
			require.NoError(t, err)
			want = append(want, user+"/"+session)
		}
	}
	var got []string
	after := ""
	for {
		page, err := s.List(after, 2)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		for _, w := range page {
			after = w.UserPath + "/" + w.SessionID
			got = append(got, after)
			require.False(t, w.CreatedAt.IsZero())
		}
	}
	require.Equal(t, want, got)
	stats, err := s.Stats()
	require.NoError(t, err)
	require.Equal(t, len(want), stats.Workspaces)
	require.Positive(t, stats.DiskFree)
}

func ownerOf(t *testing.T, path string) int {
	info, err := os.Stat(path)
	require.NoError(t, err)
	return int(info.Sys().(*syscall.Stat_t).Uid)
}
