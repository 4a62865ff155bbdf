package e2e

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestADemoThatIsInterruptedIsNotDone ends demos before their task has ended,
// which is no success for anyone who started them.
func TestADemoThatIsInterruptedIsNotDone(t *testing.T) {
	for at, signal := range map[string]syscall.Signal{"starting the backend": syscall.SIGINT, "session ": syscall.SIGTERM} {
		t.Run(at, func(t *testing.T) {
			p := newLocalPoco(t)
			p.prepare("demo", "--once")
			p.start(p.shows(at))
			p.end(signal)
			require.Equal(t, 3, p.cmd.ProcessState.ExitCode(), "%s: %s", p.cmd.ProcessState, p.out)
			require.Contains(t, p.out.String(), "poco: stopped before the task was done")
		})
	}
}
