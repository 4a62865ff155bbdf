package export_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/objectstore"
	"github.com/poco-ai/poco/services/internal/testkit"
	"github.com/poco-ai/poco/services/manager/internal/export"
	"github.com/poco-ai/poco/services/manager/internal/queuetest"
	"github.com/poco-ai/poco/services/manager/internal/workspace"
)

// fixture is one session's workspace and an exporter on a real S3 server.
type fixture struct {
	t *testing.T
	// dir is the workspace, state what is kept beside it.
	dir, state string
	session    string
	objects    *counting
	queue      *queuetest.Queue
	exporter   *export.Exporter
}

// counting counts what is stored, except for snapshots.
type counting struct {
	export.Objects
	mu  sync.Mutex
	put []string
	// before is called before each Put.
	before func(key string) error
}

func (c *counting) Put(ctx context.Context, key, contentType string, body io.Reader, size int64) error {
	c.mu.Lock()
	before := c.before
	c.mu.Unlock()
	if before != nil {
		if err := before(key); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	c.mu.Lock()
	if !strings.HasPrefix(key, "private/") {
		c.put = append(c.put, filepath.Base(key))
	}
	c.mu.Unlock()
	return c.Objects.Put(ctx, key, contentType, body, size)
}

func (c *counting) hook(before func(key string) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.before = before
}

func (c *counting) stored() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	put := c.put
	c.put = nil
	return put
}

func newFixture(t *testing.T, objects export.Objects, endpoint string) *fixture {
	f := &fixture{t: t, session: uuid.NewString(), objects: &counting{Objects: objects}, queue: queuetest.New()}
	store, err := workspace.Open(t.TempDir(), -1, -1, nil)
	require.NoError(t, err)
	folders, err := store.Prepare("default", f.session, uuid.NewString())
	require.NoError(t, err)
	f.dir, f.state = folders.Workspace, folders.State
	f.exporter = export.New(export.Options{
		WorkerID: "w", Objects: f.objects, Endpoint: endpoint, Queue: f.queue, Workspaces: store,
		IgnoreDotFiles: true, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	t.Cleanup(f.exporter.Close)
	return f
}

func (f *fixture) write(name, content string) {
	path := filepath.Join(f.dir, name)
	require.NoError(f.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(f.t, os.WriteFile(path, []byte(content), 0o644))
}

// export makes an export and returns what is reported.
func (f *fixture) export() *queuev1.ReportExportRequest {
	f.t.Helper()
	return f.exportOf(uuid.NewString())
}

func (f *fixture) exportOf(run string) *queuev1.ReportExportRequest {
	f.t.Helper()
	f.start(run)
	return f.await(run)
}

// start begins the export of a run, which the queue says is pending.
func (f *fixture) start(run string) {
	f.queue.Owe("w", f.session, run)
	f.exporter.Start(export.Job{SessionID: f.session, RunID: run, UserID: "default"})
}

func (f *fixture) await(run string) *queuev1.ReportExportRequest {
	f.t.Helper()
	var report *queuev1.ReportExportRequest
	f.queue.Await(f.t, "report", func(v queuetest.View) bool {
		for _, r := range v.Reports {
			if r.GetRunId() == run {
				report = r
			}
		}
		return report != nil
	})
	return report
}

func (f *fixture) ready() *queuev1.ReportExportRequest {
	f.t.Helper()
	report := f.export()
	require.Equal(f.t, backendv1.ExportStatus_EXPORT_STATUS_READY, report.GetStatus(), report.GetReason())
	return report
}

func (f *fixture) get(key string) string {
	f.t.Helper()
	body, _, err := f.objects.Get(f.t.Context(), key)
	require.NoError(f.t, err)
	defer body.Close()
	b, err := io.ReadAll(body)
	require.NoError(f.t, err)
	return string(b)
}

func TestExport(t *testing.T) {
	f := newFixture(t, testkit.ObjectStore(t), "")
	f.write("main.go", "package main")
	f.write("docs/read me.txt", "hello")
	f.write("empty.bin", "")
	for _, ignored := range []string{".git/config", ".env", "node_modules/x/y.js", "a/dist/z", "deep/__pycache__/p"} {
		f.write(ignored, "no")
	}
	report := f.ready()
	require.EqualValues(t, 3, report.GetFileCount())
	require.EqualValues(t, len("package main")+len("hello"), report.GetTotalBytes())
	prefix := "workspaces/default/" + f.session + "/"
	require.Equal(t, prefix+"files/", report.GetFilesPrefix())
	require.Equal(t, "hello", f.get(prefix+"files/docs/read me.txt"))

	var manifest struct {
		Version int
		Files   []struct{ Path, Key, MimeType, Status string }
	}
	require.NoError(t, json.Unmarshal([]byte(f.get(report.GetManifestKey())), &manifest))
	require.Equal(t, 1, manifest.Version)
	require.Len(t, manifest.Files, 3)
	types := make(map[string]string)
	for _, file := range manifest.Files {
		types[file.Path] = file.MimeType
	}
	require.Contains(t, types["docs/read me.txt"], "text/plain")
	require.Equal(t, "application/octet-stream", types["empty.bin"])

	archive := f.get(report.GetArchiveKey())
	z, err := zip.NewReader(bytes.NewReader([]byte(archive)), int64(len(archive)))
	require.NoError(t, err)
	var names []string
	for _, file := range z.File {
		names = append(names, file.Name)
	}
	require.ElementsMatch(t, []string{"workspace/docs/read me.txt", "workspace/empty.bin", "workspace/main.go"}, names)
}

func TestOnlyChangesAreUploaded(t *testing.T) {
	store := testkit.ObjectStore(t)
	f := newFixture(t, store, "")
	f.write("same", "1")
	f.write("changes", "1")
	f.write("goes", "1")
	f.write("becomes", "a file")
	f.ready()
	f.objects.stored()

	f.write("changes", "22")
	require.NoError(t, os.Remove(filepath.Join(f.dir, "goes")))
	require.NoError(t, os.Remove(filepath.Join(f.dir, "becomes")))
	f.write("becomes/a", "folder")
	report := f.ready()
	require.EqualValues(t, 3, report.GetFileCount())
	require.ElementsMatch(t, []string{"changes", "a", "archive.zip", "manifest.json"}, f.objects.stored())
	_, _, err := store.Get(t.Context(), report.GetFilesPrefix()+"goes")
	require.ErrorIs(t, err, objectstore.ErrNotFound)
	require.Equal(t, "22", f.get(report.GetFilesPrefix()+"changes"))
}

func TestFilesThatChangeWhileTheyAreRead(t *testing.T) {
	f := newFixture(t, testkit.ObjectStore(t), "")
	f.write("a", "1")
	f.write("grows", "123")
	f.write("shrinks", "123")
	f.write("vanishes", "1")
	var once sync.Once
	f.objects.hook(func(string) error {
		once.Do(func() {
			f.write("grows", "123456")
			require.NoError(t, os.Truncate(filepath.Join(f.dir, "shrinks"), 1))
			require.NoError(t, os.Remove(filepath.Join(f.dir, "vanishes")))
		})
		return nil
	})
	report := f.ready()
	require.LessOrEqual(t, report.GetFileCount(), int64(4))
	again := f.ready()
	require.EqualValues(t, 3, again.GetFileCount())
	require.Equal(t, "123456", f.get(again.GetFilesPrefix()+"grows"))
	require.Equal(t, "1", f.get(again.GetFilesPrefix()+"shrinks"))
}

func TestToolResultsGoAlong(t *testing.T) {
	f := newFixture(t, testkit.ObjectStore(t), "")
	run := uuid.NewString()
	f.write("../state/tool_results/"+run+"/toolu_1.txt", "the full text")
	f.write("../state/tool_results/"+uuid.NewString()+"/old.txt", "of another run")
	report := f.exportOf(run)
	require.Zero(t, report.GetFileCount())
	require.Equal(t, "the full text", f.get("workspaces/default/"+f.session+"/tool_results/"+run+"/toolu_1.txt"))
}

func TestTheObjectStoreIsAway(t *testing.T) {
	server := testkit.S3(t)
	store, err := objectstore.New(t.Context(), server.Config, server.AccessKey, server.SecretKey)
	require.NoError(t, err)
	t.Cleanup(store.Close)
	f := newFixture(t, store, "http://127.0.0.1:9/bucket")
	f.write("a", "1")
	f.objects.hook(func(string) error { return errors.New("connection refused") })
	report := f.export()
	require.Equal(t, backendv1.ExportStatus_EXPORT_STATUS_FAILED, report.GetStatus())
	require.Contains(t, report.GetReason(), "http://127.0.0.1:9")
	require.Contains(t, report.GetReason(), "connection refused")

	// It comes back, and the export is asked for again.
	f.objects.hook(nil)
	f.ready()
}

func TestAnUnreachableEndpointIsNamed(t *testing.T) {
	store, err := objectstore.New(t.Context(), &configv1.ObjectStoreConfig{
		Endpoint: "http://127.0.0.1:9", Bucket: "b-b", Region: "us-east-1", ForcePathStyle: true, MaxAttempts: 1,
		ConnectTimeout: durationpb.New(1e9), ReadTimeout: durationpb.New(1e9),
	}, config.NewSecret("a"), config.NewSecret("s"))
	require.NoError(t, err)
	t.Cleanup(store.Close)
	f := newFixture(t, store, "http://user:password@127.0.0.1:9")
	f.write("a", "1")
	report := f.export()
	require.Equal(t, backendv1.ExportStatus_EXPORT_STATUS_FAILED, report.GetStatus())
	require.Contains(t, report.GetReason(), "object storage at http://127.0.0.1:9")
	require.NotContains(t, report.GetReason(), "password")
}

func TestSupersede(t *testing.T) {
	f := newFixture(t, testkit.ObjectStore(t), "")
	f.write("a", "1")
	reading, proceed := make(chan struct{}), make(chan struct{})
	f.objects.hook(func(string) error {
		close(reading)
		<-proceed
		return nil
	})
	f.start(uuid.NewString())
	<-reading
	require.True(t, f.exporter.Running(f.session))
	stopped := make(chan error, 1)
	go func() { stopped <- f.exporter.Supersede(t.Context(), f.session) }()
	close(proceed)
	require.NoError(t, <-stopped, "waits until the export reads no more")
	require.False(t, f.exporter.Running(f.session))

	f.objects.hook(nil)
	f.ready()
	f.queue.Await(t, "one report only", func(v queuetest.View) bool { return len(v.Reports) == 1 })
	require.NoError(t, f.exporter.Supersede(t.Context(), f.session))
}

// The agent can put anything in the place of the folder for tool results, and
// knows the run's id.
func TestToolResultsThatAreNoFolder(t *testing.T) {
	f := newFixture(t, testkit.ObjectStore(t), "")
	dir := filepath.Join(f.state, "tool_results")
	outside := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o644))
	for name, spoil := range map[string]func(path string) error{
		"a FIFO":           func(path string) error { return syscall.Mkfifo(path, 0o644) },
		"a file":           func(path string) error { return os.WriteFile(path, nil, 0o644) },
		"a link out":       func(path string) error { return os.Symlink(outside, path) },
		"a link to itself": func(path string) error { return os.Symlink(filepath.Base(path), path) },
	} {
		t.Run(name, func(t *testing.T) {
			run := uuid.NewString()
			f.write(run+".txt", "x")
			require.NoError(t, os.MkdirAll(dir, 0o755))
			require.NoError(t, spoil(filepath.Join(dir, run)))
			f.objects.stored()
			report := f.exportOf(run)
			require.Equal(t, backendv1.ExportStatus_EXPORT_STATUS_READY, report.GetStatus(), report.GetReason())
			require.NotContains(t, f.objects.stored(), "secret")
		})
	}
	run := uuid.NewString()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, run), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, run, "bad\nname"), nil, 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, run, "good.txt"), nil, 0o644))
	f.objects.stored()
	require.Equal(t, backendv1.ExportStatus_EXPORT_STATUS_READY, f.exportOf(run).GetStatus())
	require.Contains(t, f.objects.stored(), "good.txt")
}

// A backslash is a separator where some people unpack the archive.
func TestArchiveNamesLeadNowhere(t *testing.T) {
	f := newFixture(t, testkit.ObjectStore(t), "")
	f.write(`a\..\..\evil.exe`, "x")
	archive := f.get(f.ready().GetArchiveKey())
	z, err := zip.NewReader(bytes.NewReader([]byte(archive)), int64(len(archive)))
	require.NoError(t, err)
	require.Len(t, z.File, 1)
	require.Equal(t, "workspace/a_.._.._evil.exe", z.File[0].Name)
}
