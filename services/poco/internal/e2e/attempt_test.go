package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

// enqueueResumable sends a prompt whose run goes on when its executor is lost.
func (s *stack) enqueueResumable(prompt, sessionID string, mode backendv1.ContainerMode) (session, run string) {
	s.t.Helper()
	resp, err := s.tasks.EnqueueTask(s.t.Context(), &backendv1.EnqueueTaskRequest{Prompt: prompt, SessionId: sessionID, Config: &backendv1.TaskConfig{
		LostExecutorPolicy: backendv1.LostExecutorPolicy_LOST_EXECUTOR_POLICY_RESUME.Enum(), ContainerMode: mode.Enum(),
	}})
	require.NoError(s.t, err)
	return resp.GetSessionId(), resp.GetRunId()
}

// awaitQueuedAgain waits until the backend has given a run up for its next
// attempt.
func (f *follower) awaitQueuedAgain(run string) {
	f.t.Helper()
	times := 0
	f.await("the run is queued again", func(e *backendv1.SessionEvent) bool {
		if e.GetRunId() == run && e.GetPayload().GetRunStatusChanged().GetStatus() == backendv1.RunStatus_RUN_STATUS_QUEUED {
			times++
		}
		return times > 1
	})
}

// script writes a program that waits for a file before it goes on as another.
func script(t *testing.T, program string) (path, gate string) {
	t.Helper()
	dir := t.TempDir()
	path, gate = filepath.Join(dir, "program"), filepath.Join(dir, "go")
	text := fmt.Sprintf("#!/bin/sh\nif [ \"$1\" != --version ]; then while [ ! -e %q ]; do sleep 0.05; done; fi\nexec %q \"$@\"\n", gate, program)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o755)) //nolint:gosec // a program
	return path, gate
}

func open(t *testing.T, gate string) {
	t.Helper()
	require.NoError(t, os.WriteFile(gate, nil, 0o600))
}

const shortLease = "4"

// A manager that comes back after its lease finds the executor of the attempt
// before, which can say nothing about the next one.
func TestManagerAwayForLongerThanItsLease(t *testing.T) {
	for _, mode := range []backendv1.ContainerMode{
		backendv1.ContainerMode_CONTAINER_MODE_EPHEMERAL, backendv1.ContainerMode_CONTAINER_MODE_PERSISTENT,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			s := newStack(t, stackOptions{env: map[string]string{"TASK_CLAIM_LEASE_SECONDS": shortLease}}).start()
			session, run := s.enqueueResumable(waitForFile, "", mode)
			f := s.follow(session)
			f.awaitTool("Bash")
			before := s.agentProcesses(session)
			require.NotEmpty(t, before)
			s.manager.kill()
			f.awaitQueuedAgain(run)
			s.letGo(session)
			s.manager.start()
			end := f.awaitEnd(run)
			require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, end.GetStatus(), "%s: %s", end.GetReason(), end.GetMessage())
			require.EqualValues(t, 2, s.run(run).GetAttempt())
			f.requireExactlyOnce()
			for _, pid := range before {
				awaitGone(t, pid)
			}
		})
	}
}

// A command ended while nobody heard of it, and the run was lost: the next
// attempt begins with what the one before had not delivered.
func TestWhatWasDoneWhileNobodyHeardOfItIsInTheRecord(t *testing.T) {
	s := newStack(t, stackOptions{env: map[string]string{"TASK_CLAIM_LEASE_SECONDS": "10"}}).start()
	session, run := s.enqueueResumable(waitForFile, "", backendv1.ContainerMode_CONTAINER_MODE_EPHEMERAL)
	f := s.follow(session)
	f.awaitTool("Bash")
	cli := s.agentProcesses(session)
	s.manager.kill()
	s.letGo(session)
	for _, pid := range cli {
		awaitGone(t, pid)
	}
	f.awaitQueuedAgain(run)
	s.manager.start()
	end := f.awaitEnd(run)
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, end.GetStatus(), "%s: %s", end.GetReason(), end.GetMessage())
	agents := 0
	f.await("the result of the command", func(e *backendv1.SessionEvent) bool {
		if e.GetPayload().GetAgentStarted() != nil {
			agents++
		}
		blocks := e.GetPayload().GetMessageAdded().GetBlocks()
		return len(blocks) > 0 && blocks[0].GetToolResult().GetContent() == "seen"
	})
	require.Equal(t, 1, agents, "it comes before anything of the next attempt")
	f.requireExactlyOnce()
}

// The agent said its last word to an executor that was stopped before it read it,
// and killed with its manager. The word is in the agent's conversation, and so in
// the record, before anything of the next attempt.
func TestWhatTheAgentSaidUnheardIsInTheRecord(t *testing.T) {
	s := newStack(t, stackOptions{env: map[string]string{"TASK_CLAIM_LEASE_SECONDS": "30"}}).start()
	session, run := s.enqueueResumable(waitForFile, "", backendv1.ContainerMode_CONTAINER_MODE_EPHEMERAL)
	f := s.follow(session)
	f.awaitTool("Bash")
	executors := processesWith(t, "WORKSPACE_PATH="+s.workspace(s.manager, session))
	require.Len(t, executors, 1)
	// Its executor has allowed the command: it runs.
	require.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Join(s.workspace(s.manager, session), "waiting"))
		return err == nil
	}, awaitTimeout, 20*time.Millisecond)
	cli := s.agentProcesses(session)
	require.NoError(t, syscall.Kill(executors[0], syscall.SIGSTOP))
	s.letGo(session)
	conversations := filepath.Join(filepath.Dir(s.workspace(s.manager, session)), "state", "claude", "projects", "*", "*.jsonl")
	require.Eventually(t, func() bool { return anyContains(t, conversations, "The file is there.") }, awaitTimeout, 20*time.Millisecond)
	s.manager.kill()
	require.NoError(t, syscall.Kill(executors[0], syscall.SIGKILL))
	for _, pid := range cli {
		awaitGone(t, pid)
	}
	f.awaitQueuedAgain(run)
	s.manager.start()
	end := f.awaitEnd(run)
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, end.GetStatus(), "%s: %s", end.GetReason(), end.GetMessage())
	agents, said := 0, 0
	for _, e := range f.all() {
		if e.GetPayload().GetAgentStarted() != nil {
			agents++
		}
		for _, block := range e.GetPayload().GetMessageAdded().GetBlocks() {
			if block.GetText().GetText() == "The file is there." {
				said++
				require.Equal(t, 1, agents, "it comes before anything of the next attempt")
			}
		}
	}
	require.Equal(t, 1, said)
	f.requireExactlyOnce()
}

// anyContains tells whether a file of a pattern has a text.
func anyContains(t *testing.T, pattern, text string) bool {
	files, err := filepath.Glob(pattern)
	require.NoError(t, err)
	return slices.ContainsFunc(files, func(name string) bool {
		content, err := os.ReadFile(name)
		require.NoError(t, err)
		return strings.Contains(string(content), text)
	})
}

// Manager and executor die after the run was started and before its agent has
// the prompt. An older conversation proves nothing: the prompt is given.
func TestAPromptThatNeverReachedTheAgentIsGiven(t *testing.T) {
	cli, gate := script(t, realCLI(t))
	s := newStack(t, stackOptions{cli: cli, env: map[string]string{"TASK_CLAIM_LEASE_SECONDS": shortLease}}).start()
	open(t, gate)
	session, first := s.enqueueResumable("Hello. [[bash]]", "", backendv1.ContainerMode_CONTAINER_MODE_EPHEMERAL)
	f := s.follow(session)
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, f.awaitEnd(first).GetStatus())
	f.awaitExport(0)
	require.NoError(t, os.Remove(gate))

	_, run := s.enqueueResumable("Do it. [[bash:echo done >proof.txt]]", session, backendv1.ContainerMode_CONTAINER_MODE_EPHEMERAL)
	f.awaitStatus(run, backendv1.RunStatus_RUN_STATUS_RUNNING)
	s.manager.kill()
	for _, pid := range processesWith(t, "WORKSPACE_PATH="+s.workspace(s.manager, session)) {
		process, err := os.FindProcess(pid)
		require.NoError(t, err)
		require.NoError(t, process.Kill())
	}
	f.awaitQueuedAgain(run)
	open(t, gate)
	s.manager.start()
	end := f.awaitEnd(run)
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, end.GetStatus(), "%s: %s", end.GetReason(), end.GetMessage())
	require.FileExists(t, filepath.Join(s.workspace(s.manager, session), "proof.txt"))
	f.requireExactlyOnce()
}

// A manager that is stopped while an executor boots gives the run back.
func TestManagerStoppedWhileAnExecutorBoots(t *testing.T) {
	executor, gate := script(t, programPath("executor"))
	s := newStack(t, stackOptions{})
	s.manager.env["EXECUTOR_COMMAND"] = executor
	s.start()
	session, run := s.enqueue("Hello. [[bash]]", "")
	f := s.follow(session)
	f.awaitStatus(run, backendv1.RunStatus_RUN_STATUS_RUNNING)
	s.manager.stop()
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_QUEUED, s.run(run).GetStatus())
	open(t, gate)
	s.manager.start()
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, f.awaitEnd(run).GetStatus())
	require.EqualValues(t, 1, s.run(run).GetAttempt())
}
