package claude

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/executor/internal/agent"
	"github.com/poco-ai/poco/services/executor/internal/process"
	"github.com/poco-ai/poco/services/internal/claudecode"
	"github.com/poco-ai/poco/services/internal/scriptedmodel"
)

const runToken = "run-token"

// realCLI finds the CLI; POCO_TEST_REQUIRE_ALL insists on it.
func realCLI(t *testing.T) string {
	t.Helper()
	path, err := claudecode.Find(os.Getenv(claudecode.PathSetting), "")
	if err != nil {
		if os.Getenv("POCO_TEST_REQUIRE_ALL") == "1" {
			t.Fatal(err)
		}
		t.Skip("needs the real CLI: ", err)
	}
	return path
}

// real prepares a run of the real CLI against the scripted model.
func real(t *testing.T, prompt string, scenarios ...scriptedmodel.Scenario) (Options, *scriptedmodel.Server) {
	t.Helper()
	path := realCLI(t)
	model, err := scriptedmodel.Start(context.Background(), "127.0.0.1:0", scriptedmodel.Options{Token: runToken, Scenarios: scenarios})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, model.Close()) })
	opts := Options{Path: path, Task: agent.Task{
		BaseURL: model.URL, Token: runToken,
		Model: "claude-sonnet-4-20250514", Prompt: prompt, IdleTimeout: time.Minute,
	}}
	inSession(t, &opts, t.TempDir())
	return opts, model
}

// inSession sets the folders of a session.
func inSession(t *testing.T, opts *Options, dir string) {
	t.Helper()
	opts.Dir = filepath.Join(dir, "workspace")
	opts.StateDir, opts.HomeDir = filepath.Join(dir, "state", "claude"), filepath.Join(dir, "state", "home")
	require.NoError(t, os.MkdirAll(opts.Dir, 0o755))
}

func requireStatus(t *testing.T, status backendv1.RunStatus, reason backendv1.RunReason, outcome agent.Outcome) {
	t.Helper()
	require.Equal(t, status, outcome.Status, "%s: %s", outcome.Reason, outcome.Message)
	require.Equal(t, reason, outcome.Reason, outcome.Message)
}

const (
	completed = backendv1.RunStatus_RUN_STATUS_COMPLETED
	failed    = backendv1.RunStatus_RUN_STATUS_FAILED
	canceled  = backendv1.RunStatus_RUN_STATUS_CANCELED
)

func TestRealDemo(t *testing.T) {
	opts, model := real(t, "show me [[demo]]")
	r := &recorder{}
	a := New(opts, r)
	r.on = func(p *executorv1.RunEventPayload) {
		if asked := p.GetUserInputRequested(); asked != nil {
			go a.Answer(asked.GetUserInputRequestId(), said(asked, "Spanish"))
		}
	}
	outcome := a.Run(t.Context())
	requireStatus(t, completed, 0, outcome)
	log := r.log()
	require.True(t, strings.HasPrefix(log, "started claude-sonnet-4-20250514 resumed=false"), log)
	require.Contains(t, log, "todos 1:completed 2:completed now=")
	require.Contains(t, log, "asked AskUserQuestion Which language should the greeting be in?(3)")
	require.Contains(t, log, "result(Hello in Spanish from")
	require.Contains(t, log, "text(Done. You chose Spanish")
	require.Contains(t, r.partial.String(), "You chose Spanish")
	require.Positive(t, r.changes)
	require.InDelta(t, 7*0.0006, outcome.Usage.GetTotalCostUsd(), 1e-9)
	written, err := os.ReadFile(filepath.Join(opts.Dir, "greeting.sh"))
	require.NoError(t, err)
	require.Contains(t, string(written), "language='Spanish'")
	require.Equal(t, []string{runToken}, model.Stats().Tokens, "no other credential may reach the model API")
	require.Empty(t, model.Stats().Invalid)
}

func TestRealQuestionTimesOut(t *testing.T) {
	opts, _ := real(t, "[[ask]]")
	// The wait for a person is longer than the CLI may be silent.
	opts.UserInputTimeout, opts.IdleTimeout = 14*time.Second, 12*time.Second
	r := &recorder{}
	outcome := New(opts, r).Run(t.Context())
	requireStatus(t, completed, 0, outcome)
	require.Contains(t, r.log(), "result(User input timed out, error=true)")
}

func TestRealPlanMode(t *testing.T) {
	cases := map[string]struct {
		answer *backendv1.UserAnswer
		want   string
	}{
		"approved":               {&backendv1.UserAnswer{Selected: []string{planApprove}}, "User has approved your plan"},
		"approved in words":      {&backendv1.UserAnswer{OtherText: "approve"}, "User has approved your plan"},
		"approved with a remark": {&backendv1.UserAnswer{Selected: []string{planApprove}, OtherText: "but in Go"}, "The user approved this plan with the remark: but in Go"},
		"rejected":               {&backendv1.UserAnswer{Selected: []string{planReject}}, "wants to keep planning"},
		"rejected with a remark": {&backendv1.UserAnswer{Selected: []string{planReject}, OtherText: "use Go"}, "did not approve the plan: use Go"},
		"other words":            {&backendv1.UserAnswer{OtherText: "Use Go instead"}, "did not approve the plan: Use Go instead"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			opts, _ := real(t, "[[plan]]")
			opts.PermissionMode = backendv1.PermissionMode_PERMISSION_MODE_PLAN
			r := &recorder{}
			a := New(opts, r)
			r.on = func(p *executorv1.RunEventPayload) {
				if asked := p.GetUserInputRequested(); asked != nil {
					c.answer.QuestionId = asked.GetQuestions()[0].GetId()
					go a.Answer(asked.GetUserInputRequestId(), []*backendv1.UserAnswer{c.answer})
				}
			}
			requireStatus(t, completed, 0, a.Run(t.Context()))
			last := r.payloads[len(r.payloads)-1].GetMessageAdded()
			require.Contains(t, last.GetBlocks()[0].GetText().GetText(), c.want)
		})
	}
}

// What a person answered reaches the agent, whatever the texts look like.
func TestRealAnswers(t *testing.T) {
	colors := func(text string, multi bool) map[string]any {
		return map[string]any{"question": text, "header": "Color", "multiSelect": multi, "options": []any{
			map[string]any{"label": "Red, dark", "description": "warm"}, map[string]any{"label": "Blue", "description": "cold"},
		}}
	}
	ask := func(questions ...any) scriptedmodel.Scenario {
		return scriptedmodel.Scenario{Name: "asks", Turns: []scriptedmodel.Turn{{Blocks: []scriptedmodel.Block{
			{Tool: &scriptedmodel.Tool{Name: toolAskUser, Input: map[string]any{"questions": questions}}},
		}}}}
	}
	cases := map[string]struct {
		questions []any
		// relist is what the CLI is taken to have asked, where it does not ask that.
		relist  []any
		answers []*backendv1.UserAnswer
		want    string
	}{
		"one of several": {
			questions: []any{colors("Which?", false)},
			answers:   []*backendv1.UserAnswer{{QuestionId: "1", Selected: []string{"Red, dark"}}},
			want:      `"Which?"="Red, dark"`,
		},
		"several": {
			questions: []any{colors("Which?", true)},
			answers:   []*backendv1.UserAnswer{{QuestionId: "1", Selected: []string{"Red, dark", "Blue"}}},
			want:      `"Which?"=""Red, dark", "Blue""`,
		},
		"own words": {
			questions: []any{colors("Which?", false)},
			answers:   []*backendv1.UserAnswer{{QuestionId: "1", OtherText: "Green"}},
			want:      `"Which?"="Green"`,
		},
		"a choice and words": {
			questions: []any{colors("Which?", true), colors("And below?", false)},
			answers:   []*backendv1.UserAnswer{{QuestionId: "2", Selected: []string{"Red, dark"}}, {QuestionId: "1", Selected: []string{"Blue"}, OtherText: "not too much"}},
			want:      `"Which?"="Blue" notes: not too much, "And below?"="Red, dark"`,
		},
		"a NUL in the text": {
			questions: []any{colors("Which\x00?", false)},
			answers:   []*backendv1.UserAnswer{{QuestionId: "1", Selected: []string{"Blue"}}},
			want:      "\"Which\u2400?\"=\"Blue\"",
		},
		// This CLI refuses to ask it; see below.
		"the same text twice": {
			questions: []any{colors("Which?", false), colors("And below?", false)},
			relist:    []any{colors("Which?", false), colors("Which?", false)},
			answers:   []*backendv1.UserAnswer{{QuestionId: "1", Selected: []string{"Blue"}}, {QuestionId: "2", OtherText: "Green"}},
			want:      `"Which?"="Blue", "Which? (2)"="Green"`,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			opts, _ := real(t, "[[asks]]", ask(c.questions...))
			r := &recorder{}
			a := New(opts, r)
			r.on = func(p *executorv1.RunEventPayload) {
				asked := p.GetUserInputRequested()
				if asked == nil {
					return
				}
				if c.relist != nil {
					q := a.questions[asked.GetUserInputRequestId()]
					q.input["questions"] = c.relist
					for i := range q.asked {
						q.asked[i].Question = c.relist[i].(map[string]any)["question"].(string)
					}
				}
				go a.Answer(asked.GetUserInputRequestId(), c.answers)
			}
			requireStatus(t, completed, 0, a.Run(t.Context()))
			require.Contains(t, r.results(), c.want)
		})
	}

	t.Run("the CLI asks no text twice", func(t *testing.T) {
		opts, _ := real(t, "[[asks]]", ask(colors("Which?", false), colors("Which?", false)))
		r := &recorder{}
		requireStatus(t, completed, 0, New(opts, r).Run(t.Context()))
		require.NotContains(t, r.log(), "asked ")
		require.Contains(t, r.results(), "Question texts must be unique")
	})
}

func TestRealCancelDuringCommand(t *testing.T) {
	opts, _ := real(t, "[[waitfile]]")
	r := &recorder{}
	a := New(opts, r)
	r.on = func(p *executorv1.RunEventPayload) {
		if use := p.GetMessageAdded().GetBlocks(); len(use) > 0 && use[0].GetToolUse().GetName() == "Bash" {
			go a.End(agent.Canceled("enough"))
		}
	}
	outcome := a.Run(t.Context())
	requireStatus(t, canceled, backendv1.RunReason_RUN_REASON_CANCELED, outcome)
	require.Equal(t, "Canceled: enough", outcome.Message)
	require.EqualValues(t, 20, outcome.Usage.GetOutputTokens(), "an interrupted CLI reports its usage")

	// The conversation can go on afterwards.
	opts.ResumeID, opts.Prompt = r.payloads[0].GetAgentStarted().GetAgentSessionId(), "[[memory]]"
	r = &recorder{}
	requireStatus(t, completed, 0, New(opts, r).Run(t.Context()))
	require.Contains(t, r.log(), `The first thing you said was: "[[waitfile]]".`)
}

func TestRealResume(t *testing.T) {
	opts, _ := real(t, "Remember the pears.")
	r := &recorder{}
	requireStatus(t, completed, 0, New(opts, r).Run(t.Context()))
	opts.ResumeID = r.payloads[0].GetAgentStarted().GetAgentSessionId()
	opts.Prompt = "[[memory]]"
	r = &recorder{}
	requireStatus(t, completed, 0, New(opts, r).Run(t.Context()))
	require.Equal(t, opts.ResumeID, r.payloads[0].GetAgentStarted().GetAgentSessionId())
	require.Contains(t, r.log(), `The first thing you said was: "Remember the pears.". This is prompt number 2.`)
}

// A session that was restored elsewhere, or by another runtime, has its
// workspace under another path.
func TestRealResumeInAMovedWorkspace(t *testing.T) {
	opts, _ := real(t, "Remember the pears.")
	r := &recorder{}
	requireStatus(t, completed, 0, New(opts, r).Run(t.Context()))
	opts.ResumeID = r.payloads[0].GetAgentStarted().GetAgentSessionId()
	moved := filepath.Join(t.TempDir(), "moved")
	require.NoError(t, os.Rename(filepath.Dir(opts.Dir), moved))
	inSession(t, &opts, moved)
	opts.Prompt = "[[memory]]"
	r = &recorder{}
	requireStatus(t, completed, 0, New(opts, r).Run(t.Context()))
	require.Contains(t, r.log(), `The first thing you said was: "Remember the pears.". This is prompt number 2.`)
}

func TestRealResumeOfUnknownConversation(t *testing.T) {
	opts, _ := real(t, "x")
	opts.ResumeID = "00000000-0000-4000-8000-000000000000"
	outcome := New(opts, &recorder{}).Run(t.Context())
	requireStatus(t, failed, backendv1.RunReason_RUN_REASON_RESUME_FAILED, outcome)
	require.Contains(t, outcome.Message, opts.ResumeID)
}

func TestRealFailures(t *testing.T) {
	cases := map[string]struct {
		prompt  string
		reason  backendv1.RunReason
		message string
		change  func(*Options)
	}{
		"wrong key": {"x", backendv1.RunReason_RUN_REASON_AUTHENTICATION_FAILED, "ANTHROPIC_AUTH_TOKEN", func(o *Options) { o.Token = "wrong" }},
		"401":       {"[[error401]]", backendv1.RunReason_RUN_REASON_AUTHENTICATION_FAILED, "HTTP 401", nil},
		"refused":   {"[[error400]]", backendv1.RunReason_RUN_REASON_AGENT_ERROR, "refuses this request", nil},
		"hang":      {"[[hang]]", backendv1.RunReason_RUN_REASON_IDLE_TIMEOUT, "silent for", func(o *Options) { o.IdleTimeout = 1500 * time.Millisecond }},
		"cost":      {"[[costly]]", backendv1.RunReason_RUN_REASON_COST_LIMIT, "cost limit", func(o *Options) { o.MaxCostUSD = 1 }},
		"tokens":    {"[[costly]]", backendv1.RunReason_RUN_REASON_TOKEN_LIMIT, "limit of 1000 tokens", func(o *Options) { o.MaxTokens = 1000 }},
		"turns":     {"[[todo]]", backendv1.RunReason_RUN_REASON_MAX_TURNS, "maximum number of turns", func(o *Options) { o.MaxTurns = 2 }},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			opts, _ := real(t, c.prompt)
			if c.change != nil {
				c.change(&opts)
			}
			begun := time.Now()
			outcome := New(opts, &recorder{}).Run(t.Context())
			requireStatus(t, failed, c.reason, outcome)
			require.Contains(t, outcome.Message, c.message)
			require.Less(t, time.Since(begun), 15*time.Second)
		})
	}
}

func TestRealOverloadIsRetried(t *testing.T) {
	opts, _ := real(t, "[[overload529]]")
	r := &recorder{}
	requireStatus(t, completed, 0, New(opts, r).Run(t.Context()))
	require.Contains(t, r.log(), "retry 1/10 529 overloaded")
	require.Contains(t, r.log(), "Served after one retry.")
}

func TestRealKilled(t *testing.T) {
	opts, model := real(t, "[[gate]]")
	a := New(opts, &recorder{})
	go func() {
		<-model.Arrived("gate")
		a.call(func() { a.process.Signal(syscall.SIGKILL) })
	}()
	outcome := a.Run(t.Context())
	requireStatus(t, failed, backendv1.RunReason_RUN_REASON_AGENT_CRASHED, outcome)
	require.Contains(t, outcome.Message, "killed by signal 9")
	require.Positive(t, outcome.Usage.GetOutputTokens(), "what was streamed before is known")
}

func TestRealNULAndHalfASurrogate(t *testing.T) {
	opts, _ := real(t, "[[nul]]")
	r := &recorder{}
	requireStatus(t, completed, 0, New(opts, r).Run(t.Context()))
	require.Contains(t, r.log(), "result(before␀after \uFFFD")
	require.Contains(t, r.log(), "text(Half a surrogate: \uFFFD and a NUL: ␀.)")
	for _, p := range r.payloads {
		data, err := proto.Marshal(p)
		require.NoError(t, err, "every event must be valid UTF-8")
		require.NotContains(t, p.GetMessageAdded().GetVerbatimJson(), `\u0000`)
		require.NotContains(t, string(data), "\x00after")
	}
}

// TestRealLeavesNothingRunning ends a run whose command has a session of its
// own, which a signal to the CLI's group does not reach.
func TestRealLeavesNothingRunning(t *testing.T) {
	opts, _ := real(t, "[[bash:echo $$ > pid; touch ready; exec sleep 1000]]")
	ctx, cancel := context.WithCancelCause(t.Context())
	a := New(opts, &recorder{})
	pids := make(chan []int, 1)
	go func() {
		for {
			if _, err := os.Stat(filepath.Join(opts.Dir, "ready")); err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
		a.call(func() { pids <- process.Descendants(a.process.PID) })
		cancel(&agent.StopError{Outcome: agent.Failed(backendv1.RunReason_RUN_REASON_LEASE_LOST, "lost")})
	}()
	requireStatus(t, failed, backendv1.RunReason_RUN_REASON_LEASE_LOST, a.Run(ctx))
	found := <-pids
	require.NotEmpty(t, found)
	for _, pid := range found {
		require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH, "process %d lives on", pid)
	}
}
