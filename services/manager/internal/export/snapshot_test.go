package export_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/objectstore"
	"github.com/poco-ai/poco/services/internal/testkit"
	"github.com/poco-ai/poco/services/manager/internal/queuetest"
	"github.com/poco-ai/poco/services/manager/internal/workspace"
)

func TestASnapshotHasWhatTheExportLeavesOut(t *testing.T) {
	store := testkit.ObjectStore(t)
	f := newFixture(t, store, "")
	f.write("main.go", "package main")
	f.write(".git/HEAD", "ref")
	f.write("../state/claude/projects/p/c.jsonl", "conversation")
	f.write("node_modules/x/y.js", "y")
	f.write("large.bin", strings.Repeat("0123456789abcdef", 1<<20)) // several parts
	first := f.ready()
	require.True(t, strings.HasPrefix(first.GetSnapshotKey(), "private/snapshots/default/"+f.session+"/"+first.GetRunId()))

	elsewhere, err := workspace.Open(t.TempDir(), -1, -1, store)
	require.NoError(t, err)
	require.NoError(t, elsewhere.Restore(t.Context(), "default", f.session, first.GetSnapshotKey()))
	for _, name := range []string{"main.go", ".git/HEAD", "../state/claude/projects/p/c.jsonl", "node_modules/x/y.js", "large.bin"} {
		want, err := os.ReadFile(filepath.Join(f.dir, name))
		require.NoError(t, err)
		got, err := os.ReadFile(filepath.Join(elsewhere.Dir("default", f.session), name))
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, got), name)
	}

	// The next one takes its place.
	second := f.ready()
	require.NoError(t, f.exporter.Supersede(t.Context(), f.session), "waits until it is done")
	_, _, err = store.Get(t.Context(), second.GetSnapshotKey())
	require.NoError(t, err)
	require.ErrorIs(t, elsewhere.Restore(t.Context(), "default", f.session, first.GetSnapshotKey()), workspace.ErrNoSnapshot)
}

func TestAFailedSnapshotIsNoFailedExport(t *testing.T) {
	f := newFixture(t, testkit.ObjectStore(t), "")
	f.write("a", "1")
	f.objects.hook(func(key string) error {
		if strings.HasPrefix(key, "private/") {
			return errors.New("no space")
		}
		return nil
	})
	report := f.ready()
	require.Empty(t, report.GetSnapshotKey())
	require.Equal(t, "1", f.get(report.GetFilesPrefix()+"a"))
}

func TestAFollowUpSupersedesTheSnapshot(t *testing.T) {
	store := testkit.ObjectStore(t)
	f := newFixture(t, store, "")
	f.write("a", "1")
	reading, proceed := make(chan struct{}), make(chan struct{})
	f.objects.hook(func(key string) error {
		if strings.HasPrefix(key, "private/") {
			close(reading)
			<-proceed
		}
		return nil
	})
	f.start(uuid.NewString())
	<-reading
	stopped := make(chan error, 1)
	go func() { stopped <- f.exporter.Supersede(t.Context(), f.session) }()
	close(proceed)
	require.NoError(t, <-stopped)
	f.queue.Await(t, "no report", func(v queuetest.View) bool { return len(v.Reports) == 0 })
	var kept []string
	require.NoError(t, store.List(t.Context(), "private/", func(o objectstore.Object) error {
		kept = append(kept, o.Key)
		return nil
	}))
	require.Empty(t, kept)
}

// TestTooManyFilesToExport: what lies deepest stays out, and is counted; the
// snapshot has it all the same.
func TestTooManyFilesToExport(t *testing.T) {
	f := newFixture(t, testkit.ObjectStore(t), "")
	f.write("report.txt", "r")
	require.NoError(t, os.Mkdir(filepath.Join(f.dir, "many"), 0o755))
	for i := range 50_000 {
		require.NoError(t, os.Symlink("x", filepath.Join(f.dir, "many", strconv.Itoa(i))))
	}
	report := f.ready()
	require.EqualValues(t, 1, report.GetFileCount())
	require.EqualValues(t, 2, report.GetMissingCount())
	require.Contains(t, report.GetReason(), "2 paths could not be exported: many/9998 (is one too many")
	require.NotContains(t, report.GetReason(), "elsewhere")
	require.NotEmpty(t, report.GetSnapshotKey())
	m := f.manifest(report)
	require.Equal(t, "report.txt", m.Files[0].Path)
	require.Len(t, m.Links, 49_998)
}
