package worker_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/manager/internal/queuetest"
)

// A deleted session leaves nothing on the manager: no folder, not even one that
// its agent has locked, and no executor that waits.
func TestADeletedSessionIsForgotten(t *testing.T) {
	h := newHost(t, completes)
	m := h.manage(options{})
	mode := backendv1.ContainerMode_CONTAINER_MODE_PERSISTENT
	config := &backendv1.TaskConfig{ContainerMode: &mode}
	gone, kept := session(), session()
	for _, s := range []string{gone, kept} {
		run := h.queue.Enqueue(s, "one", config)
		h.queue.AwaitStatus(t, run, completed)
		h.awaitExport(run)
	}
	locked := filepath.Join(m.workspaces.Dir("default", gone), "locked")
	require.NoError(t, os.MkdirAll(filepath.Join(locked, "inside"), 0o755))
	require.NoError(t, os.Chmod(locked, 0))
	require.Len(t, h.machine.Executors(), 2)

	forget := func() {
		id := h.queue.Delete(gone)
		h.queue.Await(t, "the command is acknowledged", func(v queuetest.View) bool { return slices.Contains(v.Acked, id) })
	}
	forget()
	require.NoDirExists(t, m.workspaces.SessionDir("default", gone))
	require.DirExists(t, m.workspaces.Dir("default", kept))
	require.Len(t, h.machine.Executors(), 1)
	forget() // once more is the same
}
