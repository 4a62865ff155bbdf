package e2e

import (
	"bufio"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

// poco prepares the command line as a process of its own.
func (s *stack) poco(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(s.t.Context(), programPath("poco"), args...)
	cmd.Dir = s.t.TempDir()
	cmd.Env = []string{"HOME=" + cmd.Dir, "PATH=" + os.Getenv("PATH"), "POCO_URL=" + s.backend.url()}
	return cmd
}

// TestLeavingARunIsNotCancelingIt ends "poco run" in the ways that say nothing
// about the run, comes back, and finds the exit code of the run itself.
func TestLeavingARunIsNotCancelingIt(t *testing.T) {
	s := newStack(t, stackOptions{}).start()
	// Under nohup the tests ignore it, and so would what they start.
	hangUps := make(chan os.Signal, 1)
	signal.Notify(hangUps, syscall.SIGHUP)
	defer signal.Stop(hangUps)
	for name, sent := range map[string]os.Signal{
		"SIGTERM, as of a CI job's timeout":            syscall.SIGTERM,
		"SIGHUP, as of a closed terminal":              syscall.SIGHUP,
		"a reader that is gone, as of poco run | head": nil,
	} {
		t.Run(name, func(t *testing.T) {
			cmd := s.poco("run", "Ask me. [[ask]]")
			read, write, err := os.Pipe()
			require.NoError(t, err)
			defer read.Close()
			var said strings.Builder
			cmd.Stdout, cmd.Stderr = write, &said
			require.NoError(t, cmd.Start())
			require.NoError(t, write.Close())
			lines := bufio.NewScanner(read)
			require.True(t, lines.Scan())
			session := strings.TrimPrefix(lines.Text(), "session ")
			watcher := s.follow(session)
			question := watcher.await("the question", func(e *backendv1.SessionEvent) bool {
				return e.GetPayload().GetUserInputRequested() != nil
			})
			for lines.Scan() && !strings.Contains(lines.Text(), "poco answer") {
			}

			var exit *exec.ExitError
			var shown strings.Builder
			if sent != nil {
				require.NoError(t, cmd.Process.Signal(sent))
				for lines.Scan() {
					shown.WriteString(lines.Text())
				}
				require.ErrorAs(t, cmd.Wait(), &exit)
				s.answer(session, "Red")
			} else {
				require.NoError(t, read.Close())
				s.answer(session, "Red") // there is something to show
				require.ErrorAs(t, cmd.Wait(), &exit)
			}
			require.Equal(t, 5, exit.ExitCode(), "%s%s", shown.String(), said.String())
			require.Contains(t, shown.String()+said.String(), "poco attach "+session)
			require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, watcher.awaitEnd(question.GetRunId()).GetStatus())

			output, err := s.poco("attach", session).CombinedOutput()
			require.NoError(t, err, "%s", output)
			require.Contains(t, string(output), "completed")
		})
	}
}

// TestAttachEndsAsTheLastRunDid shows a finished session again.
func TestAttachEndsAsTheLastRunDid(t *testing.T) {
	cli, _ := newFakeCLI(t, cliDies)
	s := newStack(t, stackOptions{cli: cli}).start()
	session, run := s.enqueue("x", "")
	s.follow(session).awaitEnd(run)
	output, err := s.poco("attach", session).CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit, "%s", output)
	require.Equal(t, 1, exit.ExitCode(), "%s", output)
	require.Contains(t, string(output), "agent_crashed")
}
