package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

// TestTwoManagersOneQueue lets two managers work off 200 runs of 50 sessions:
// each is executed exactly once, never two at a time in one session, and oldest
// first within a session.
func TestTwoManagersOneQueue(t *testing.T) {
	const sessions, runsPerSession = 50, 4
	cli, marks := newFakeCLI(t, cliCompletes)
	s := newStack(t, stackOptions{cli: cli, env: map[string]string{"MAX_CONCURRENT_TASKS": "4"}})
	s.startBackend()

	ids := make([]string, sessions)
	prompts := map[string]bool{}
	for i := range sessions {
		for r := range runsPerSession {
			prompt := fmt.Sprintf("prompt-%d-%d-end", i, r)
			prompts[prompt] = true
			ids[i], _ = s.enqueue(prompt, ids[i])
		}
	}
	second := s.newManager()
	var start errgroup.Group
	for _, m := range []*program{s.manager, second} {
		m.launch()
		start.Go(func() error { m.awaitServing(); return nil })
	}
	require.NoError(t, start.Wait())

	byWorker := map[string]int{}
	for _, id := range ids {
		f := s.follow(id)
		f.await("the end of the last run", func(e *backendv1.SessionEvent) bool {
			return s.isLastEnd(f, e, runsPerSession)
		})
		requireOneAtATime(t, f, runsPerSession)
		f.requireExactlyOnce()
		for _, m := range []*program{s.manager, second} {
			if _, err := os.Stat(s.workspace(m, id)); err == nil {
				byWorker[m.url()]++
			}
		}
	}
	require.Len(t, byWorker, 2, "both managers had work")
	require.Equal(t, sessions, byWorker[s.manager.url()]+byWorker[second.url()], "a session stays with one manager")

	// The CLI left one mark for each execution.
	entries, err := os.ReadDir(marks)
	require.NoError(t, err)
	require.Len(t, entries, sessions*runsPerSession)
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(marks, entry.Name()))
		require.NoError(t, err)
		found := ""
		for prompt := range prompts {
			if strings.Contains(string(content), prompt) {
				found = prompt
			}
		}
		require.NotEmpty(t, found, "an unknown or repeated prompt: %s", content)
		delete(prompts, found)
	}
	require.Empty(t, prompts)
}

// isLastEnd tells whether an event is the n-th completion of its session.
func (s *stack) isLastEnd(f *follower, event *backendv1.SessionEvent, n int) bool {
	ended := 0
	for _, e := range f.all() {
		if e.GetSeq() > event.GetSeq() {
			break
		}
		if e.GetPayload().GetRunStatusChanged().GetStatus() == backendv1.RunStatus_RUN_STATUS_COMPLETED {
			ended++
		}
	}
	return ended == n
}

// requireOneAtATime checks the order of a session's runs in its events, and
// their times in the rows.
func requireOneAtATime(t *testing.T, f *follower, runs int) {
	t.Helper()
	var queued, claimed []string
	active := ""
	for _, e := range f.all() {
		switch e.GetPayload().GetRunStatusChanged().GetStatus() {
		case backendv1.RunStatus_RUN_STATUS_QUEUED:
			queued = append(queued, e.GetRunId())
		case backendv1.RunStatus_RUN_STATUS_CLAIMED:
			require.Empty(t, active, "two active runs in session %s", f.id)
			active = e.GetRunId()
			claimed = append(claimed, active)
		case backendv1.RunStatus_RUN_STATUS_COMPLETED:
			require.Equal(t, active, e.GetRunId())
			active = ""
		case backendv1.RunStatus_RUN_STATUS_FAILED, backendv1.RunStatus_RUN_STATUS_CANCELED:
			require.FailNow(t, "a run failed", "%v", e.GetPayload())
		default:
		}
	}
	require.Len(t, queued, runs)
	require.Equal(t, queued, claimed, "oldest first")
}
