package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

// containers lists those of a session.
func containers(t testing.TB, engine *client.Client, session string) []string {
	t.Helper()
	list, err := engine.ContainerList(t.Context(), client.ContainerListOptions{All: true, Filters: make(client.Filters).Add("label", "ai.poco.session="+session)})
	require.NoError(t, err)
	ids := make([]string, 0, len(list.Items))
	for _, c := range list.Items {
		ids = append(ids, c.ID)
	}
	return ids
}

// Managers that share an engine leave each other's containers alone: when they
// start, while they work and when they stop.
func TestTwoManagersOnOneEngine(t *testing.T) {
	for _, mode := range bothModes {
		t.Run(mode.String(), func(t *testing.T) {
			s := newStack(t, stackOptions{runtime: dockerRuntime}).start()
			engine := openEngine(t)
			session, run := s.enqueueResumable(waitForFile, "", mode)
			f := s.follow(session)
			f.awaitTool("Bash")
			before := containers(t, engine, session)
			require.Len(t, before, 1)

			other := s.newManager()
			other.start()
			other.stop()
			other.start()
			other.kill()
			other.start()
			s.manager.kill()
			s.manager.start()
			require.Equal(t, before, containers(t, engine, session))
			s.letGo(session)
			s.requireGoneOn(f, run)
		})
	}
}

// At whatever moment of a run's start its manager is stopped, the run is done,
// and no container is left.
func TestManagerStoppedWhileAContainerStarts(t *testing.T) {
	for name, moment := range map[string]func(s *stack, f *follower, engine *client.Client, session, run string){
		"claimed": func(_ *stack, f *follower, _ *client.Client, _, run string) {
			f.awaitStatus(run, backendv1.RunStatus_RUN_STATUS_CLAIMED)
		},
		"container made": func(s *stack, _ *follower, engine *client.Client, session, _ string) {
			require.Eventually(s.t, func() bool { return len(containers(s.t, engine, session)) > 0 }, awaitTimeout, 20*time.Millisecond)
		},
		"running": func(_ *stack, f *follower, _ *client.Client, _, run string) {
			f.awaitStatus(run, backendv1.RunStatus_RUN_STATUS_RUNNING)
		},
	} {
		for how, end := range map[string]func(*program){"stopped": (*program).stop, "killed": (*program).kill} {
			t.Run(how+" when "+name, func(t *testing.T) {
				s := newStack(t, stackOptions{runtime: dockerRuntime}).start()
				engine := openEngine(t)
				session, run := s.enqueue("Hello. [[bash:echo done >>ledger]]", "")
				f := s.follow(session)
				moment(s, f, engine, session, run)
				end(s.manager)
				s.manager.start()
				requireCompleted(t, f, run)
				require.Equal(t, backendv1.ExportStatus_EXPORT_STATUS_READY, f.awaitExport(0).GetStatus())
				f.requireExactlyOnce()
				ledger, err := os.ReadFile(filepath.Join(s.workspace(s.manager, session), "ledger"))
				require.NoError(t, err)
				require.Equal(t, "done\n", string(ledger))
				require.EqualValues(t, 1, s.run(run).GetAttempt())
				require.Eventually(t, func() bool { return len(containers(t, engine, session)) == 0 }, awaitTimeout, 20*time.Millisecond)
			})
		}
	}
}
