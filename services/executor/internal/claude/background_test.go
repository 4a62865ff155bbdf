package claude

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/executor/internal/agent"
	"github.com/poco-ai/poco/services/internal/scriptedmodel"
)

// untilTold is a command that works until the test creates the file "go".
const untilTold = "until test -e go; do sleep 0.05; done; echo built > built.txt"

// never is a command that ends only when it is killed. It tells its number.
const never = "echo $$ > pid; exec sleep 1000"

// whenWaiting calls f, beside the agent, when the run waits for what works in
// the background.
func whenWaiting(r *recorder, f func()) {
	r.on = func(p *executorv1.RunEventPayload) {
		if p.GetNotice().GetCode() == agent.NoticeWaiting {
			go f()
		}
	}
}

func create(t *testing.T, opts Options, name string) {
	if err := os.WriteFile(filepath.Join(opts.Dir, name), nil, 0o600); err != nil {
		t.Error(err)
	}
}

func requireFile(t *testing.T, opts Options, name string) {
	t.Helper()
	_, err := os.Stat(filepath.Join(opts.Dir, name))
	require.NoError(t, err)
}

func background(command string) scriptedmodel.Block {
	return scriptedmodel.Block{Tool: &scriptedmodel.Tool{Name: "Bash", Input: map[string]any{
		"command": command, "description": "work", "run_in_background": true,
	}}}
}

func says(text string) scriptedmodel.Turn {
	return scriptedmodel.Turn{Blocks: []scriptedmodel.Block{{Text: text}}}
}

// realScenario is real with a scenario of its own.
func realScenario(t *testing.T, turns ...scriptedmodel.Turn) Options {
	t.Helper()
	opts, _ := real(t, "[[own]]", scriptedmodel.Scenario{Name: "own", Turns: turns})
	return opts
}

func TestRealBackgroundWorkIsWaitedFor(t *testing.T) {
	cases := map[string]struct{ prompt, last string }{
		"command":             {"[[background:" + untilTold + "]]", "The command in the background has ended."},
		"sub-agent":           {"[[subagent:" + untilTold + "]]", "The sub-agent has ended."},
		"left behind":         {"[[bash:(" + untilTold + ") & echo started]]", "The command printed: started"},
		"left behind, nohup":  {"[[bash:nohup sh -c '" + untilTold + "' >/dev/null 2>&1 & echo started]]", "The command printed: started"},
		"left behind, setsid": {"[[bash:setsid sh -c '" + untilTold + "' >/dev/null 2>&1 & echo started]]", "The command printed: started"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			opts, _ := real(t, c.prompt)
			r := &recorder{}
			whenWaiting(r, func() { create(t, opts, "go") })
			requireStatus(t, completed, 0, New(opts, r).Run(t.Context()))
			requireFile(t, opts, "built.txt")
			require.Contains(t, r.log(), c.last)
			require.NotContains(t, r.log(), agent.NoticeStopped)
		})
	}
}

func TestRealSeveralInTheBackground(t *testing.T) {
	opts := realScenario(t,
		scriptedmodel.Turn{Blocks: []scriptedmodel.Block{
			background("until test -e first; do sleep 0.05; done; touch second"),
			background("until test -e second; do sleep 0.05; done; sleep 0.5; echo built > built.txt"),
		}},
		says("Both run."), says("One has ended."), says("The other has, too."))
	r := &recorder{}
	whenWaiting(r, func() { create(t, opts, "first") })
	outcome := New(opts, r).Run(t.Context())
	requireStatus(t, completed, 0, outcome)
	requireFile(t, opts, "built.txt")
	require.Contains(t, r.log(), "The other has, too.")
	require.InDelta(t, 4*0.0006, outcome.Usage.GetTotalCostUsd(), 1e-9)
	require.EqualValues(t, 400, outcome.Usage.GetInputTokens())
	require.EqualValues(t, 80, outcome.Usage.GetOutputTokens())
}

// What the CLI reports of a turn has to be added up for some numbers, and must
// not be for others.
func TestRealUsageOfSeveralTurns(t *testing.T) {
	opts, _ := real(t, "[[background:"+untilTold+"]]")
	r := &recorder{}
	whenWaiting(r, func() { create(t, opts, "go") })
	outcome := New(opts, r).Run(t.Context())
	requireStatus(t, completed, 0, outcome)
	require.InDelta(t, 3*0.0006, outcome.Usage.GetTotalCostUsd(), 1e-9)
	require.EqualValues(t, 300, outcome.Usage.GetInputTokens())
	require.EqualValues(t, 3, outcome.Usage.GetNumTurns())
}

func TestRealBackgroundTimeout(t *testing.T) {
	cases := map[string]struct {
		prompt, names string
		reason        backendv1.RunReason
		status        backendv1.RunStatus
	}{
		// It may be a server, which is not expected to end.
		"command":     {"[[background:" + never + "]]", never, 0, completed},
		"left behind": {"[[bash:setsid sh -c '" + never + "' >/dev/null 2>&1 & until test -e pid; do sleep 0.05; done]]", "sleep 1000", 0, completed},
		// A sub-agent had something to do, and it is not done.
		"sub-agent": {"[[subagent:" + never + "]]", "run a command", backendv1.RunReason_RUN_REASON_BACKGROUND_TIMEOUT, failed},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			opts, _ := real(t, c.prompt)
			opts.BackgroundTimeout = time.Second
			r := &recorder{}
			requireStatus(t, c.status, c.reason, New(opts, r).Run(t.Context()))
			stopped := r.notice(agent.NoticeStopped)
			require.Contains(t, stopped, c.names)
			require.Contains(t, stopped, "RUN_BACKGROUND_TIMEOUT_SECONDS")
			requireGone(t, opts)
		})
	}
}

func TestRealEndedWhileWaiting(t *testing.T) {
	cases := map[string]struct {
		end    func(a *Agent, cancel context.CancelCauseFunc)
		status backendv1.RunStatus
		reason backendv1.RunReason
	}{
		"canceled": {func(a *Agent, _ context.CancelCauseFunc) { a.End(agent.Canceled("enough")) }, canceled, backendv1.RunReason_RUN_REASON_CANCELED},
		"timeout": {func(a *Agent, _ context.CancelCauseFunc) {
			a.End(agent.Failed(backendv1.RunReason_RUN_REASON_RUN_TIMEOUT, "late"))
		}, failed, backendv1.RunReason_RUN_REASON_RUN_TIMEOUT},
		"lease lost": {func(_ *Agent, cancel context.CancelCauseFunc) {
			cancel(&agent.StopError{Outcome: agent.Failed(backendv1.RunReason_RUN_REASON_LEASE_LOST, "lost")})
		}, failed, backendv1.RunReason_RUN_REASON_LEASE_LOST},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			opts, _ := real(t, "[[background:"+never+"]]")
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			r := &recorder{}
			a := New(opts, r)
			whenWaiting(r, func() { c.end(a, cancel) })
			outcome := a.Run(ctx)
			requireStatus(t, c.status, c.reason, outcome)
			require.GreaterOrEqual(t, outcome.Usage.GetOutputTokens(), int64(40), "the first turn's usage is known")
			requireGone(t, opts)
		})
	}
}

// requireGone insists that the command which wrote its number is dead. It may
// have been stopped before it could write.
func requireGone(t *testing.T, opts Options) {
	t.Helper()
	pid, err := os.ReadFile(filepath.Join(opts.Dir, "pid"))
	if os.IsNotExist(err) {
		return
	}
	require.NoError(t, err)
	require.NoDirExists(t, "/proc/"+string(pid[:len(pid)-1]))
}

// The last turn decides, whatever the one before it said.
func TestRealSecondTurn(t *testing.T) {
	started := []scriptedmodel.Turn{{Blocks: []scriptedmodel.Block{background(untilTold)}}, says("It runs.")}
	ask := scriptedmodel.Turn{Blocks: []scriptedmodel.Block{{Tool: &scriptedmodel.Tool{Name: toolAskUser, Input: map[string]any{"questions": []any{
		map[string]any{"question": "Ship it?", "header": "Ship", "options": []any{
			map[string]any{"label": "Yes", "description": "y"}, map[string]any{"label": "No", "description": "n"},
		}},
	}}}}}}
	cases := map[string]struct {
		turns  []scriptedmodel.Turn
		change func(*Options)
		status backendv1.RunStatus
		reason backendv1.RunReason
		says   string
	}{
		"fails": {
			turns:  []scriptedmodel.Turn{{Error: &scriptedmodel.Error{Status: 400, Type: "invalid_request_error", Message: "not now"}}},
			status: failed, reason: backendv1.RunReason_RUN_REASON_AGENT_ERROR,
		},
		"reaches the token limit": {
			turns:  []scriptedmodel.Turn{{Usage: scriptedmodel.Usage{InputTokens: 5000}, Blocks: says("A lot.").Blocks}},
			change: func(o *Options) { o.MaxTokens = 1000 }, status: failed, reason: backendv1.RunReason_RUN_REASON_TOKEN_LIMIT,
		},
		"asks": {turns: []scriptedmodel.Turn{ask, says("Shipped: {answer}.")}, status: completed, says: "Shipped: Yes."},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			opts := realScenario(t, append(append([]scriptedmodel.Turn(nil), started...), c.turns...)...)
			if c.change != nil {
				c.change(&opts)
			}
			r := &recorder{}
			a := New(opts, r)
			r.on = func(p *executorv1.RunEventPayload) {
				if p.GetNotice().GetCode() == agent.NoticeWaiting {
					create(t, opts, "go")
				}
				if asked := p.GetUserInputRequested(); asked != nil {
					go a.Answer(asked.GetUserInputRequestId(), said(asked, "Yes"))
				}
			}
			requireStatus(t, c.status, c.reason, a.Run(t.Context()))
			require.Contains(t, r.log(), c.says)
			requireFile(t, opts, "built.txt")
		})
	}
}

// A sub-agent that the model waits for takes its commands with it. Nobody asked
// for that, so it is told.
func TestRealCommandStoppedWithItsSubAgent(t *testing.T) {
	opts := realScenario(t,
		scriptedmodel.Turn{Blocks: []scriptedmodel.Block{{Tool: &scriptedmodel.Tool{Name: "Task", Input: map[string]any{
			"description": "start it", "prompt": "[[background:" + never + "]]", "subagent_type": "general-purpose",
		}}}}},
		says("Done."))
	r := &recorder{}
	requireStatus(t, completed, 0, New(opts, r).Run(t.Context()))
	require.Contains(t, r.notice(agent.NoticeStopped), "sleep 1000")
	requireGone(t, opts)
}
