package export_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/internal/objectstore"
	"github.com/poco-ai/poco/services/internal/testkit"
	"github.com/poco-ai/poco/services/manager/internal/workspace"
)

type manifest struct {
	Files []struct {
		Path, Key   string
		PathBytes   []byte `json:"path_bytes"`
		ArchivePath string `json:"archive_path"`
	}
	Links   []struct{ Path, Target string }
	Missing []struct{ Path, Reason string }
}

// missing returns the reasons by path.
func (m manifest) missing() map[string]string {
	reasons := map[string]string{}
	for _, p := range m.Missing {
		reasons[p.Path] = p.Reason
	}
	return reasons
}

func (f *fixture) manifest(report *queuev1.ReportExportRequest) manifest {
	f.t.Helper()
	var m manifest
	require.NoError(f.t, json.Unmarshal([]byte(f.get(report.GetManifestKey())), &m))
	require.EqualValues(f.t, len(m.Files), report.GetFileCount())
	require.EqualValues(f.t, len(m.Missing), report.GetMissingCount())
	return m
}

// zip returns the archive's entries by name: their content, or where they lead.
func (f *fixture) zip(report *queuev1.ReportExportRequest) map[string]string {
	f.t.Helper()
	archive := f.get(report.GetArchiveKey())
	z, err := zip.NewReader(bytes.NewReader([]byte(archive)), int64(len(archive)))
	require.NoError(f.t, err)
	entries := map[string]string{}
	for _, file := range z.File {
		in, err := file.Open()
		require.NoError(f.t, err)
		content, err := io.ReadAll(in)
		require.NoError(f.t, err)
		text := string(content)
		if file.Mode().Type() == fs.ModeSymlink {
			text = "-> " + text
		}
		require.NotContains(f.t, entries, file.Name)
		entries[strings.TrimPrefix(file.Name, "workspace/")] = text
	}
	return entries
}

// TestOddNamesAreExported: whatever a file is called, it can be listed, fetched
// and unpacked under its own name.
func TestOddNamesAreExported(t *testing.T) {
	f := newFixture(t, testkit.ObjectStore(t), "")
	names := []string{
		"new\nline", "tab\there", "bad\xffname", "bad\xfename", `bad\xffname`, `back\slash`, "back_slash", "trailing ", "ünï/😀",
		"esc\x1b[31m", "del\x7f", "nonchar\uffff", "-dash", "q?&=#%2F+", strings.Repeat("l", 255), strings.Repeat(strings.Repeat("d", 200)+"/", 5) + "deep",
	}
	for _, name := range names {
		f.write(name, "content of "+name)
	}
	report := f.ready()
	require.Empty(t, report.GetReason())
	m := f.manifest(report)
	entries := f.zip(report)
	require.Len(t, entries, len(names))
	seen := map[string]bool{}
	for _, file := range m.Files {
		name := file.Path
		if len(file.PathBytes) > 0 {
			name = string(file.PathBytes)
		}
		seen[name] = true
		require.Equal(t, "content of "+name, f.get(file.Key), "%q", name)
		entry := name
		if file.ArchivePath != "" {
			entry = strings.TrimPrefix(file.ArchivePath, "workspace/")
		}
		require.Equal(t, "content of "+name, entries[entry], "%q", name)
		require.NotContains(t, entry, `a\`, "is a separator elsewhere")
	}
	for _, name := range names {
		require.True(t, seen[name], "%q", name)
	}

	// They can go again, too.
	f.objects.stored()
	require.NoError(t, os.Remove(filepath.Join(f.dir, names[0])))
	f.manifest(f.ready())
	require.ElementsMatch(t, []string{"archive.zip", "manifest.json"}, f.objects.stored())
}

func TestLinksAreExportedAsLinks(t *testing.T) {
	f := newFixture(t, testkit.ObjectStore(t), "")
	f.write("dir/a.txt", "a")
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("the secret"), 0o644))
	for name, target := range map[string]string{
		"to-file": "dir/a.txt", "dir/up": "../dir", "dangling": "nothing", "loop": "loop", "odd\nlink": "dir",
		"absolute": secret, "root": "/", "dir/out": "../../x",
	} {
		require.NoError(t, os.Symlink(target, filepath.Join(f.dir, name)))
	}
	report := f.ready()
	require.Equal(t, map[string]string{
		"dir/a.txt": "a", "to-file": "-> dir/a.txt", "dir/up": "-> ../dir", "dangling": "-> nothing", "loop": "-> loop", "odd\nlink": "-> dir",
	}, f.zip(report))
	m := f.manifest(report)
	require.Len(t, m.Links, 5)
	reasons := m.missing()
	require.Len(t, reasons, 3)
	require.Equal(t, "is a link out of the workspace, to "+secret, reasons["absolute"])
	require.Contains(t, report.GetReason(), "3 paths could not be exported: absolute (is a link out of the workspace, to "+secret+"), dir/out (")
	require.NotContains(t, report.GetReason(), "elsewhere", "a snapshot has all links")

	// The session goes on elsewhere with each of them.
	elsewhere, err := workspace.Open(t.TempDir(), -1, -1, f.objects)
	require.NoError(t, err)
	require.NoError(t, elsewhere.Restore(t.Context(), "default", f.session, report.GetSnapshotKey()))
	target, err := os.Readlink(filepath.Join(elsewhere.Dir("default", f.session), "absolute"))
	require.NoError(t, err)
	require.Equal(t, secret, target)
}

func TestWhatHasNoContentIsListed(t *testing.T) {
	f := newFixture(t, testkit.ObjectStore(t), "")
	f.write("a", "1")
	require.NoError(t, syscall.Mkfifo(filepath.Join(f.dir, "pipe"), 0o644))
	t.Chdir(f.dir) // a socket's path may have a hundred bytes
	socket, err := new(net.ListenConfig).Listen(t.Context(), "unix", "sock")
	require.NoError(t, err)
	defer socket.Close()
	sparse, err := os.Create(filepath.Join(f.dir, "sparse"))
	require.NoError(t, err)
	require.NoError(t, sparse.Truncate(30<<30))
	require.NoError(t, sparse.Close())
	f.write(strings.Repeat("d/", 70)+"deep", "1")

	report := f.ready()
	require.Equal(t, map[string]string{"a": "1"}, f.zip(report))
	reasons := f.manifest(report).missing()
	require.Len(t, reasons, 4)
	require.Contains(t, reasons["pipe"], "pipe or socket")
	require.Contains(t, reasons["sock"], "pipe or socket")
	require.Contains(t, reasons["sparse"], "is too large: it has 32212254720 bytes")
	require.Contains(t, reasons[strings.TrimSuffix(strings.Repeat("d/", 65), "/")], "is in too many folders")
	require.Contains(t, report.GetReason(), "would lack workspace/pipe")
}

// TestTheRepositoryIsExportedWhateverItsName: names that are left out elsewhere
// say nothing about the folder that the session works in.
func TestTheRepositoryIsExportedWhateverItsName(t *testing.T) {
	f := newFixture(t, testkit.ObjectStore(t), "")
	for _, name := range []string{".github", "dist"} {
		f.write(name+"/.git/HEAD", "ref")
		f.write(name+"/README.md", "hello")
		f.write(name+"/dist/bundle.js", "x")
	}
	f.write(".config/secret", "x")
	require.Equal(t, map[string]string{".github/README.md": "hello", "dist/README.md": "hello"}, f.zip(f.ready()))
}

// memory is an object store for a process that has no server.
type memory struct {
	mu      sync.Mutex
	objects map[string][]byte
}

func (m *memory) Put(_ context.Context, key, _ string, body io.Reader, _ int64) error {
	b, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.objects[key] = b
	return nil
}

func (m *memory) Get(_ context.Context, key string) (io.ReadCloser, objectstore.Object, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.objects[key]
	if !ok {
		return nil, objectstore.Object{}, objectstore.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(b)), objectstore.Object{Key: key, Size: int64(len(b))}, nil
}

func (m *memory) Delete(_ context.Context, keys ...string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range keys {
		delete(m.objects, key)
	}
	return nil
}

// TestWhatCannotBeReadIsListed: a file or folder that the manager may not read
// costs nothing but itself.
func TestWhatCannotBeReadIsListed(t *testing.T) {
	if !testkit.Unprivileged(t) {
		return
	}
	f := newFixture(t, &memory{objects: map[string][]byte{}}, "http://s3:9000")
	for _, name := range []string{"a.txt", "secret", "later", "locked/x", "listed/y", "z.txt"} {
		f.write(name, name)
	}
	f.ready()
	for name, mode := range map[string]fs.FileMode{"secret": 0, "later": 0, "locked": 0, "listed": 0o444} {
		path := filepath.Join(f.dir, name)
		require.NoError(t, os.Chmod(path, mode))
		t.Cleanup(func() { require.NoError(t, os.Chmod(path, 0o755)) })
	}
	report := f.ready()
	require.Equal(t, map[string]string{"a.txt": "a.txt", "z.txt": "z.txt"}, f.zip(report))
	denied := "permission denied"
	require.Equal(t, map[string]string{"secret": denied, "later": denied, "locked": denied, "listed": denied}, f.manifest(report).missing())
	require.Contains(t, report.GetReason(), "4 paths could not be exported: later (permission denied), listed (permission denied), locked (")
	require.Contains(t, report.GetReason(), "would lack workspace/later (permission denied)")
	require.NotContains(t, report.GetReason(), "object storage")

	// A workspace that its snapshot does not show whole stays.
	require.NotEmpty(t, report.GetSnapshotKey())
	require.NoError(t, f.exporter.Supersede(t.Context(), f.session))
	meta, err := os.ReadFile(filepath.Join(filepath.Dir(f.dir), "meta.json"))
	require.NoError(t, err)
	require.NotContains(t, string(meta), "snapshot_current")

	// A workspace that cannot be read at all is no fault of the object storage.
	require.NoError(t, os.Chmod(f.dir, 0))
	t.Cleanup(func() { require.NoError(t, os.Chmod(f.dir, 0o755)) })
	failed := f.export()
	require.Equal(t, backendv1.ExportStatus_EXPORT_STATUS_FAILED, failed.GetStatus())
	require.Contains(t, failed.GetReason(), "the workspace cannot be read")
	require.NotContains(t, failed.GetReason(), "object storage")
}

// TestOneObjectIsRefused: what the store does not take of one file costs the
// others nothing.
func TestOneObjectIsRefused(t *testing.T) {
	server := testkit.S3(t)
	target, err := url.Parse(server.Config.GetEndpoint())
	require.NoError(t, err)
	pass := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // which is signed
	}}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/files/refused") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	server.Config.Endpoint = front.URL
	store, err := objectstore.New(t.Context(), server.Config, server.AccessKey, server.SecretKey)
	require.NoError(t, err)
	t.Cleanup(store.Close)
	f := newFixture(t, store, front.URL)
	f.write("a", "1")
	f.write("refused", "2")
	report := f.ready()
	require.Equal(t, map[string]string{"a": "1"}, f.zip(report))
	m := f.manifest(report)
	require.Len(t, m.Files, 1)
	require.Contains(t, m.missing()["refused"], "the object storage refuses it")
}
