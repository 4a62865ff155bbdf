package worker_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
)

// leavesAFile works in its workspace.
func leavesAFile(ctx context.Context, r *scriptedRun) {
	f, err := os.OpenFile(filepath.Join(r.executor.spec.WorkspaceDir, "log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err == nil {
		_, _ = f.WriteString(r.start.GetPrompt() + "\n")
		_ = f.Close()
	}
	completes(ctx, r)
}

// run sees a prompt through, to the end of the export and of its snapshot.
func (m *manager) run(sessionID, prompt string) {
	t := m.host.t
	t.Helper()
	id := m.host.queue.Enqueue(sessionID, prompt, nil)
	m.host.queue.AwaitStatus(t, id, completed)
	require.NotEmpty(t, m.host.awaitExport(id).GetSnapshotKey())
	require.NoError(t, m.exporter.Supersede(t.Context(), sessionID), "waits until it is done")
}

func (m *manager) log(sessionID string) string {
	b, err := os.ReadFile(filepath.Join(m.workspaces.Dir("default", sessionID), "log"))
	require.NoError(m.host.t, err)
	return string(b)
}

func (m *manager) fails(sessionID, message string) {
	t := m.host.t
	t.Helper()
	run := m.host.queue.AwaitStatus(t, m.host.queue.Enqueue(sessionID, "x", nil), failed)
	require.Equal(t, backendv1.RunReason_RUN_REASON_WORKSPACE_ERROR, run.Reason)
	require.Contains(t, run.Message, message)
}

func TestASessionMovesBetweenManagers(t *testing.T) {
	h := newHost(t, leavesAFile)
	s := session()
	first := h.manage(options{})
	first.run(s, "one")
	first.stop()
	h.queue.Leave(h.workerID())

	home := h.root
	h.root = t.TempDir()
	second := h.manage(options{})
	second.run(s, "two")
	require.Equal(t, "one\ntwo\n", second.log(s))
	require.Len(t, h.objects.snapshots(), 1, "what nothing refers to is removed")
	second.stop()
	h.queue.Leave(h.workerID())

	// Back again: what is still on the first one's disk is out of date.
	h.root = home
	first = h.manage(options{})
	require.Equal(t, "one\n", first.log(s))
	first.run(s, "three")
	require.Equal(t, "one\ntwo\nthree\n", first.log(s))
}

func TestASessionThatCannotGoOnSaysSo(t *testing.T) {
	h := newHost(t, completes)
	m := h.manage(options{})
	s := session()
	h.queue.Move(s, "another", "")
	m.fails(s, "Start that manager again, or begin a new session.")
	h.queue.Move(s, "another", "private/snapshots/default/"+s+"/gone")
	m.fails(s, "not kept any more")
	broken := "private/snapshots/default/" + s + "/broken"
	require.NoError(t, h.objects.Put(t.Context(), broken, "", strings.NewReader("broken"), -1))
	h.queue.Move(s, "another", broken)
	m.fails(s, "could not be restored")
	require.False(t, m.workspaces.Has("default", s))

	s = session()
	m.run(s, "x")
	require.NoError(t, os.RemoveAll(m.workspaces.Dir("default", s)))
	h.queue.Move(s, h.workerID(), "")
	m.fails(s, "no longer on its executor manager's disk")
}

func TestOldWorkspacesAreRemovedAndComeBack(t *testing.T) {
	for name, keep := range map[string]time.Duration{"kept": time.Hour, "expired": 1} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, leavesAFile)
			m := h.manage(options{cleanup: cleanup(1, keep, true)})
			s := session()
			m.run(s, "one")
			require.NoError(t, m.worker.CleanUp(t.Context()))
			require.False(t, m.workspaces.Has("default", s))
			require.NoDirExists(t, filepath.Join(h.root, "archived", "default", s, "workspace"))
			if keep == 1 {
				require.Empty(t, h.objects.snapshots())
				require.NoDirExists(t, filepath.Join(h.root, "archived", "default", s))
				m.fails(s, "not kept any more")
				return
			}
			m.run(s, "two")
			require.Equal(t, "one\ntwo\n", m.log(s))
			require.NoDirExists(t, filepath.Join(h.root, "archived", "default", s))
		})
	}
}

func TestWithoutAnArchiveNothingIsKept(t *testing.T) {
	h := newHost(t, leavesAFile)
	m := h.manage(options{cleanup: cleanup(1, time.Hour, false)})
	s := session()
	m.run(s, "one")
	require.NoError(t, m.worker.CleanUp(t.Context()))
	require.Empty(t, h.objects.snapshots())
	m.fails(s, "not kept any more")
}

func TestWorkspacesThatMustStay(t *testing.T) {
	h := newHost(t, works)
	m := h.manage(options{cleanup: cleanup(1, time.Hour, true)})
	busy := session()
	id := h.queue.Enqueue(busy, "x", nil)
	h.awaitEvents(id, 1)
	require.NoError(t, m.worker.CleanUp(t.Context()))
	require.True(t, m.workspaces.Has("default", busy), "a run works in it")

	unkept := session()
	_, err := m.workspaces.Prepare("default", unkept, session())
	require.NoError(t, err)
	require.NoError(t, m.worker.CleanUp(t.Context()))
	require.True(t, m.workspaces.Has("default", unkept), "no snapshot shows it as it is")

	h = newHost(t, leavesAFile)
	m = h.manage(options{cleanup: cleanup(time.Hour, time.Hour, true)})
	m.run(busy, "one")
	require.NoError(t, m.worker.CleanUp(t.Context()))
	require.True(t, m.workspaces.Has("default", busy), "not old yet")
}

// Runs and the removal of their workspaces at the same moment: each run finds
// what the ones before left.
func TestCleanUpMeetsRuns(t *testing.T) {
	h := newHost(t, leavesAFile)
	m := h.manage(options{cleanup: cleanup(1, time.Hour, true)})
	s := session()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			_ = m.worker.CleanUp(ctx)
		}
	}()
	want := ""
	for range 10 {
		m.run(s, "again")
		want += "again\n"
	}
	cancel()
	<-ended
	m.run(s, "last")
	require.Equal(t, want+"last\n", m.log(s))
}

func cleanup(age, keep time.Duration, archive bool) *configv1.WorkspaceConfig {
	return &configv1.WorkspaceConfig{
		CleanupEnabled: true, CleanupInterval: durationpb.New(time.Hour), MaxAge: durationpb.New(age),
		ArchiveEnabled: archive, ArchiveKeep: durationpb.New(keep),
	}
}

// workerID is the id of the manager on the host's disk.
func (h *host) workerID() string {
	b, err := os.ReadFile(filepath.Join(h.root, ".worker", "id"))
	require.NoError(h.t, err)
	return string(b[:len(b)-1])
}
