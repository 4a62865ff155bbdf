package claude

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/executor/internal/agent"
	"github.com/poco-ai/poco/services/executor/internal/process"
)

const fakeModeEnv = "POCO_FAKE_CLI"

var testTime = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// TestMain lets the test binary stand in for a CLI that misbehaves.
func TestMain(m *testing.M) {
	if mode := os.Getenv(fakeModeEnv); mode != "" {
		fakeCLI(mode)
		return
	}
	if err := process.AdoptOrphans(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// fakeCLI plays a CLI that does what the real one never should.
func fakeCLI(mode string) {
	in := bufio.NewScanner(os.Stdin)
	say := func(lines ...string) {
		for _, l := range lines {
			fmt.Println(l)
		}
	}
	wait := func() { // Until somebody kills it.
		for {
			_ = syscall.Pause()
		}
	}
	in.Scan() // initialize
	if mode == "refuses" {
		say(`{"type":"control_response","response":{"subtype":"error","request_id":"poco-initialize","error":"no"}}`)
		wait()
	}
	say(`{"type":"control_response","response":{"subtype":"success","request_id":"poco-initialize"}}`)
	in.Scan() // the prompt
	const result = `{"type":"result","subtype":"success","is_error":false,"result":"ok","num_turns":1,"total_cost_usd":0.5}`
	switch mode {
	case "garbage":
		say("Segmentation fault?", "[1,2]", "", `{"type":`, "\x00\xff", `{"type":"assistant","message":{"content":"still here"}}`, result)
	case "dies":
		fmt.Fprintln(os.Stderr, "out of memory")
		os.Exit(7)
	case "killed":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "silent":
		wait()
	case "stubborn":
		say(`{"type":"system","subtype":"init","session_id":"s"}`)
		ignoreSignals()
		wait()
	case "late":
		terminated := make(chan os.Signal, 1)
		signal.Notify(terminated, syscall.SIGTERM)
		say(`{"type":"system","subtype":"init","session_id":"s"}`)
		go in.Scan() // An interrupt is not obeyed.
		<-terminated
		say(result)
	case "lingers":
		say(result)
		ignoreSignals()
		wait()
	case "asks":
		say(`{"type":"control_request","request_id":"h1","request":{"subtype":"hook_callback"}}`)
		in.Scan()
		answer := in.Text()
		say(`{"type":"control_request","request_id":"q1","request":{"subtype":"can_use_tool","tool_name":"AskUserQuestion","input":{"questions":[]}}}`,
			`{"type":"control_cancel_request","request_id":"q1"}`)
		text, _ := json.Marshal(answer)
		say(`{"type":"assistant","message":{"content":`+string(text)+`}}`, result)
	case "long":
		say(`{"type":"assistant","message":{"content":"`+strings.Repeat("x", process.MaxLine)+`"}}`, result)
	}
}

func fake(t *testing.T, mode string) Options {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "claude")
	script := fmt.Sprintf("#!/bin/sh\n%s=%s exec %q \"$@\"\n", fakeModeEnv, mode, self)
	require.NoError(t, os.WriteFile(path, []byte(script), 0o755))
	return Options{Path: path, Task: agent.Task{Dir: t.TempDir(), StateDir: t.TempDir(), HomeDir: t.TempDir(), Prompt: "p"}}
}

func runFake(t *testing.T, opts Options) (agent.Outcome, *recorder) {
	t.Helper()
	r := &recorder{}
	return New(opts, r).Run(t.Context()), r
}

func TestFakeGarbage(t *testing.T) {
	outcome, r := runFake(t, fake(t, "garbage"))
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, outcome.Status, outcome.Message)
	requireLines(t, "notice agent_garbage\nassistant text(still here)\nnotice agent_garbage", r.log())
	require.Contains(t, r.payloads[2].GetNotice().GetText(), "4 unreadable lines")
}

func TestFakeLongLine(t *testing.T) {
	outcome, r := runFake(t, fake(t, "long"))
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, outcome.Status, outcome.Message)
	requireLines(t, "notice agent_garbage", r.log())
}

func TestFakeFailures(t *testing.T) {
	idle := func(o Options) Options { o.IdleTimeout = 50 * time.Millisecond; return o }
	cases := []struct {
		mode    string
		reason  backendv1.RunReason
		message string
		change  func(Options) Options
	}{
		{"dies", backendv1.RunReason_RUN_REASON_AGENT_CRASHED, "exit code 7: out of memory", nil},
		{"killed", backendv1.RunReason_RUN_REASON_AGENT_CRASHED, "killed by signal 9", nil},
		{"refuses", backendv1.RunReason_RUN_REASON_AGENT_PROTOCOL_ERROR, "refused to start: no", nil},
		{"silent", backendv1.RunReason_RUN_REASON_IDLE_TIMEOUT, "silent for 50ms", idle},
		{"none", backendv1.RunReason_RUN_REASON_AGENT_MISSING, "cannot be started", func(o Options) Options { o.Path = "/nonexistent/claude"; return o }},
	}
	for _, c := range cases {
		t.Run(c.mode, func(t *testing.T) {
			opts := fake(t, c.mode)
			if c.change != nil {
				opts = c.change(opts)
			}
			outcome, _ := runFake(t, opts)
			require.Equal(t, backendv1.RunStatus_RUN_STATUS_FAILED, outcome.Status)
			require.Equal(t, c.reason, outcome.Reason, outcome.Message)
			require.Contains(t, outcome.Message, c.message)
		})
	}
}

func TestFakeUnknownRequestsAndWithdrawnQuestions(t *testing.T) {
	outcome, r := runFake(t, fake(t, "asks"))
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, outcome.Status, outcome.Message)
	log := r.log()
	require.Contains(t, log, `control request \"hook_callback\" is not supported`)
	require.Contains(t, log, "asked AskUserQuestion \nnotice question_withdrawn")
}

func TestFakeKilledAtOnceByItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	r := &recorder{on: func(*executorv1.RunEventPayload) {
		cancel(&agent.StopError{Outcome: agent.Failed(backendv1.RunReason_RUN_REASON_LEASE_LOST, "lost")})
	}}
	outcome := New(fake(t, "stubborn"), r).Run(ctx)
	require.Equal(t, backendv1.RunReason_RUN_REASON_LEASE_LOST, outcome.Reason)
}

func TestFakeIgnoresTheInterrupt(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the deadlines of the interrupt and of SIGTERM")
	}
	r := &recorder{}
	a := New(fake(t, "stubborn"), r)
	r.on = func(*executorv1.RunEventPayload) { go a.End(agent.Canceled("test")) }
	outcome := a.Run(t.Context())
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_CANCELED, outcome.Status)
}
