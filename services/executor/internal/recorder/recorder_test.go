package recorder

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a workspace with its recorder's folder.
type fixture struct {
	t         *testing.T
	root, dir string
	*Recorder
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	base := t.TempDir()
	f := &fixture{t: t, root: filepath.Join(base, "workspace"), dir: filepath.Join(base, "recorder")}
	require.NoError(t, os.Mkdir(f.root, 0o755))
	return f
}

func (f *fixture) write(name, content string) {
	f.t.Helper()
	path := filepath.Join(f.root, name)
	require.NoError(f.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(f.t, os.WriteFile(path, []byte(content), 0o644))
}

// begin begins a run with a new recorder, as a new executor does.
func (f *fixture) begin(runID string) *fixture {
	f.t.Helper()
	f.Recorder = New(Options{Root: f.root, Dir: f.dir, Excludes: []string{"node_modules", "*.tmp"}, Skip: "inputs"})
	problems, err := f.Begin(f.t.Context(), runID)
	require.NoError(f.t, err)
	require.Empty(f.t, problems)
	return f
}

func (f *fixture) changed() (*backendv1.FilesChanged, []Problem) {
	f.t.Helper()
	changed, problems, err := f.Changes(f.t.Context())
	require.NoError(f.t, err)
	return changed, problems
}

// only is the one file that changed.
func (f *fixture) only() *backendv1.FileChange {
	f.t.Helper()
	changed, problems := f.changed()
	require.Empty(f.t, problems)
	require.Len(f.t, changed.GetFiles(), 1)
	return changed.GetFiles()[0]
}

const (
	added    = backendv1.FileChangeStatus_FILE_CHANGE_STATUS_ADDED
	modified = backendv1.FileChangeStatus_FILE_CHANGE_STATUS_MODIFIED
	deleted  = backendv1.FileChangeStatus_FILE_CHANGE_STATUS_DELETED
	renamed  = backendv1.FileChangeStatus_FILE_CHANGE_STATUS_RENAMED
)

func TestLargeFilesShowWithTheirSize(t *testing.T) {
	f := newFixture(t)
	f.write("old.bin", "\x00"+strings.Repeat("a", maxContent))
	f.begin("r1")
	f.write("report.txt", "r\n")
	f.write("data.bin", strings.Repeat("\x00random\xff", 60_000_000/8))
	f.write("long.txt", strings.Repeat("line\n", maxContent/5+1))
	require.NoError(t, os.Rename(filepath.Join(f.root, "old.bin"), filepath.Join(f.root, "new.bin")))
	changed, problems := f.changed()
	require.Empty(t, problems)
	byName := map[string]*backendv1.FileChange{}
	for _, c := range changed.GetFiles() {
		byName[c.GetPath()] = c
	}
	require.Len(t, byName, 4)
	require.Contains(t, byName["report.txt"].GetDiff(), "+r\n")
	require.True(t, byName["data.bin"].GetBinary())
	require.EqualValues(t, 60_000_000, byName["data.bin"].GetSize())
	require.Equal(t, renamed, byName["new.bin"].GetStatus())
	require.Equal(t, "old.bin", byName["new.bin"].GetOldPath())
	require.False(t, byName["long.txt"].GetBinary())
	require.True(t, byName["long.txt"].GetDiffTruncated())
	require.EqualValues(t, maxContent/5*5+5, byName["long.txt"].GetSize())

	// A large file is compared, too: what is written anew as it was is the same.
	f.begin("r2")
	f.write("data.bin", strings.Repeat("\x00random\xff", 60_000_000/8))
	changed, _ = f.changed()
	require.Empty(t, changed.GetFiles())
}

// Files that change while they are read cost nothing but their own content.
func TestFilesThatChangeMeanwhile(t *testing.T) {
	f := newFixture(t).begin("r1")
	f.write("kept.txt", "k\n")
	stop, stopped := make(chan struct{}), make(chan struct{})
	name := filepath.Join(f.root, "busy")
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			switch i % 4 {
			case 0:
				_ = os.WriteFile(name, make([]byte, 1<<20), 0o644)
			case 1:
				_ = os.Truncate(name, 100)
			case 2:
				_ = os.Remove(name)
			default:
				_ = syscall.Mkfifo(name, 0o644)
				_ = os.Remove(name)
			}
		}
	}()
	for range 50 {
		changed, _ := f.changed()
		found := false
		for _, c := range changed.GetFiles() {
			found = found || c.GetPath() == "kept.txt"
		}
		require.True(t, found)
	}
	close(stop)
	<-stopped
	require.NoError(t, os.WriteFile(name, []byte("last\n"), 0o644))
	require.NoError(t, os.Remove(filepath.Join(f.root, "kept.txt")))
	require.Contains(t, f.only().GetDiff(), "+last\n")
}

func TestWhatIsNoFileIsNamed(t *testing.T) {
	f := newFixture(t)
	require.NoError(t, syscall.Mkfifo(filepath.Join(f.root, "old pipe"), 0o644))
	f.Recorder = New(Options{Root: f.root, Dir: f.dir})
	problems, err := f.Begin(t.Context(), "r1")
	require.NoError(t, err)
	require.Equal(t, []Problem{{Path: "old pipe", Reason: "it is a named pipe"}}, problems)

	require.NoError(t, syscall.Mkfifo(filepath.Join(f.root, "pipe"), 0o644))
	listener, err := net.Listen("unix", filepath.Join(f.root, "socket"))
	require.NoError(t, err)
	defer listener.Close()
	f.write("a", "a\n")
	changed, problems := f.changed()
	require.Len(t, changed.GetFiles(), 1)
	require.ElementsMatch(t, []Problem{{"pipe", "it is a named pipe"}, {"socket", "it is a socket"}}, problems)
}

// asNobody runs check where root's rights do not help.
func asNobody(t *testing.T, f *fixture, check func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		check()
		return
	}
	const nobody = 65534
	require.NoError(t, os.Chmod(filepath.Dir(filepath.Dir(f.root)), 0o755))
	require.NoError(t, os.Chmod(filepath.Dir(f.root), 0o777))
	require.NoError(t, filepath.WalkDir(f.dir, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Chmod(path, 0o777))
	}))
	runtime.LockOSThread() // And never unlocked: the thread ends with the test.
	require.NoError(t, unix.Setfsgid(nobody))
	require.NoError(t, unix.Setfsuid(nobody))
	defer func() {
		require.NoError(t, unix.Setfsuid(0))
		require.NoError(t, unix.Setfsgid(0))
	}()
	check()
}

func TestWhatMayNotBeReadIsNamed(t *testing.T) {
	f := newFixture(t)
	f.write("locked.txt", "l\n")
	f.write("folder/in.txt", "i\n")
	f.write("rewritten.txt", "old\n")
	f.begin("r1")
	f.write("a.txt", "a\n")
	f.write("new.txt", "n\n")
	f.write("rewritten.txt", "new\n")
	for name, mode := range map[string]os.FileMode{"locked.txt": 0, "folder": 0, "new.txt": 0, "rewritten.txt": 0} {
		require.NoError(t, os.Chmod(filepath.Join(f.root, name), mode))
	}
	defer func() { require.NoError(t, os.Chmod(filepath.Join(f.root, "folder"), 0o755)) }()
	asNobody(t, f, func() {
		changed, problems := f.changed()
		var names []string
		for _, c := range changed.GetFiles() {
			names = append(names, c.GetStatus().String()[len("FILE_CHANGE_STATUS_"):]+" "+c.GetPath())
		}
		require.ElementsMatch(t, []string{"ADDED a.txt", "ADDED new.txt", "MODIFIED rewritten.txt"}, names,
			"what was there and is not seen to have changed has not")
		require.ElementsMatch(t, []Problem{
			{"folder", "permission denied"}, {"locked.txt", "permission denied"},
			{"new.txt", "permission denied"}, {"rewritten.txt", "permission denied"},
		}, problems)
	})
}

// The agent has the executor's user: whatever it removes, the run still says
// what it changed, and the next one is not affected.
func TestTheRecordersFolderRemoved(t *testing.T) {
	f := newFixture(t)
	f.write("a.txt", "a\n")
	f.write("b.txt", "b\n")
	f.begin("r1")
	require.NoError(t, os.RemoveAll(f.dir))
	f.write("a.txt", "changed\n")
	f.write("new.txt", "n\n")
	require.NoError(t, os.Remove(filepath.Join(f.root, "b.txt")))
	changed, _ := f.changed()
	require.Len(t, changed.GetFiles(), 3)
	require.Equal(t, modified, changed.GetFiles()[0].GetStatus())
	require.True(t, changed.GetFiles()[0].GetDiffTruncated(), "what it was before is gone")
	require.Equal(t, deleted, changed.GetFiles()[1].GetStatus())
	require.Contains(t, changed.GetFiles()[2].GetDiff(), "+n\n")

	f.begin("r2")
	f.write("a.txt", "again\n")
	require.Contains(t, f.only().GetDiff(), "-changed\n+again\n")
}

func TestWithoutARecordersFolder(t *testing.T) {
	f := newFixture(t)
	f.write("a.txt", "a\n")
	require.NoError(t, os.WriteFile(f.dir, nil, 0o644), "a file where the folder should be")
	f.Recorder = New(Options{Root: f.root, Dir: f.dir, Excludes: []string{"node_modules"}})
	problems, err := f.Begin(t.Context(), "r1")
	require.NoError(t, err)
	require.NotEmpty(t, problems)
	f.write("a.txt", "changed\n")
	f.write("b.txt", "b\n")
	f.write("node_modules/x", "x")
	changed, problems := f.changed()
	require.NotEmpty(t, problems)
	require.Len(t, changed.GetFiles(), 2)
	require.Equal(t, modified, changed.GetFiles()[0].GetStatus())
	require.Equal(t, added, changed.GetFiles()[1].GetStatus())
	require.True(t, changed.GetFiles()[1].GetDiffTruncated())
}

// A run that goes on with another executor counts from its first start.
func TestASecondAttempt(t *testing.T) {
	f := newFixture(t)
	f.write("a.txt", "a\n")
	f.begin("r1")
	f.write("a.txt", "b\n")
	f.begin("r1")
	require.Contains(t, f.only().GetDiff(), "-a\n+b\n")
}

func TestTheRulesHoldForNewFilesOnly(t *testing.T) {
	f := newFixture(t)
	f.write("inputs/x", "x")
	f.begin("r1")
	f.write("inputs/x", "y")
	f.write("node_modules/x", "x")
	f.write("sub/node_modules/x", "x")
	f.write("sub/a.tmp", "x")
	f.write("sub/.gitignore", "secret*\n!secret.txt\n")
	f.write("sub/secret", "x")
	f.write("sub/secret.txt", "x")
	changed, problems := f.changed()
	require.Empty(t, problems)
	require.Len(t, changed.GetFiles(), 2)
	require.Equal(t, "sub/.gitignore", changed.GetFiles()[0].GetPath())
	require.Equal(t, "sub/secret.txt", changed.GetFiles()[1].GetPath())
}

// What earlier runs recorded does not stay for ever.
func TestOldObjectsAreRemoved(t *testing.T) {
	f := newFixture(t)
	f.write("a.txt", "first\n")
	f.begin("r1")
	objects := func() (n int) {
		require.NoError(t, filepath.WalkDir(filepath.Join(f.dir, "objects"), func(_ string, e os.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				n++
			}
			return err
		}))
		return n
	}
	for range 3 {
		f.write("a.txt", time.Now().String())
		f.only()
	}
	require.Greater(t, objects(), 3)
	f.write("b.txt", "b\n")
	f.begin("r2")
	require.Equal(t, 2, objects())
	f.write("b.txt", "changed\n")
	require.Contains(t, f.only().GetDiff(), "-b\n+changed\n")
}

// A file whose kind changed has two patches, whatever its name is.
func TestDiffsAreDealtOutRight(t *testing.T) {
	f := newFixture(t)
	f.write("a\tb", "a\n")
	f.write("z.txt", "z\n")
	f.begin("r1")
	require.NoError(t, os.Remove(filepath.Join(f.root, "a\tb")))
	require.NoError(t, os.Symlink("z.txt", filepath.Join(f.root, "a\tb")))
	f.write("m.txt", strings.Repeat("x", 64<<10)+"diff --git a/q b/q\n")
	f.write("z.txt", "changed\n")
	changed, _ := f.changed()
	require.Len(t, changed.GetFiles(), 3)
	require.Contains(t, changed.GetFiles()[0].GetDiff(), "new file mode 120000")
	require.True(t, changed.GetFiles()[1].GetDiffTruncated())
	require.Contains(t, changed.GetFiles()[2].GetDiff(), "-z\n+changed\n")
}

func TestBigChangesAreCut(t *testing.T) {
	f := newFixture(t).begin("r1")
	f.write("a.txt", strings.Repeat("line\n", maxFileDiff))
	f.write("b.txt", strings.Repeat("x", 3*maxFileDiff))
	for i := range maxListed + 5 {
		f.write(filepath.Join("many", string(rune('a'+i%26)), strings.Repeat("f", i/26+1)), "1\n")
	}
	changed, problems := f.changed()
	require.Empty(t, problems)
	require.Len(t, changed.GetFiles(), maxListed)
	require.True(t, changed.GetTruncated())
	require.EqualValues(t, maxListed+7, changed.GetTotalFiles(), "listed or not")
	require.EqualValues(t, maxFileDiff+1+maxListed+5, changed.GetTotalAdditions())
	require.True(t, changed.GetFiles()[0].GetDiffTruncated())
	require.LessOrEqual(t, len(changed.GetFiles()[0].GetDiff()), maxFileDiff)
	require.True(t, changed.GetFiles()[1].GetDiffTruncated())
	require.Contains(t, changed.GetFiles()[2].GetDiff(), "+1\n")
}
