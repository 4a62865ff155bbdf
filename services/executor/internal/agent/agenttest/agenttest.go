// Package agenttest is the contract of agents: what every driver keeps, with its
// real program against a scripted model.
package agenttest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/executor/internal/agent"
	"github.com/poco-ai/poco/services/internal/scriptedmodel"
)

const (
	token = "run-token"

	completed = backendv1.RunStatus_RUN_STATUS_COMPLETED
	failed    = backendv1.RunStatus_RUN_STATUS_FAILED
	canceled  = backendv1.RunStatus_RUN_STATUS_CANCELED

	// patience bounds what a test waits for: agents start in seconds.
	patience = 90 * time.Second
)

// Subject is a driver under test.
type Subject struct {
	// Program is the agent's own, and Driver a driver of it or of another in its
	// place.
	Program string
	Driver  func(program string) agent.Driver
	// BaseURL is what the agent is given for a model API at an address; nil: the
	// address itself.
	BaseURL func(address string) string
	Model   string
	// Files are what an agent or a repository's author may write to have it reach
	// another model: their content by path, below the working directory or, where they
	// begin with "state/", the agent's private folder.
	Files map[string]string
}

// Test holds a driver to the contract. A behaviour that its Capabilities leave out
// is skipped by its name. The test's process must adopt orphans.
func Test(t *testing.T, s Subject) {
	for _, b := range behaviours {
		t.Run(strings.ReplaceAll(b.name, " ", "_"), func(t *testing.T) {
			if b.needs != nil && !b.needs(s.Driver(s.Program).Capabilities()) {
				t.Skip("not among the agent's capabilities")
			}
			b.test(newFixture(t, s))
		})
	}
}

type behaviour struct {
	name string
	// needs says whether an agent is held to it; nil: every one is.
	needs func(c agent.Capabilities) bool
	test  func(f *fixture)
}

// fixture is a session with a workspace, and a model to talk to.
type fixture struct {
	t       *testing.T
	subject Subject
	driver  agent.Driver
	model   *scriptedmodel.Server
	task    agent.Task
}

func newFixture(t *testing.T, s Subject) *fixture {
	t.Helper()
	f := &fixture{t: t, subject: s, driver: s.Driver(s.Program)}
	model, err := scriptedmodel.Start(context.Background(), "127.0.0.1:0", scriptedmodel.Options{Token: token, Scenarios: scenarios})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, model.Close()) })
	f.model = model
	dir := t.TempDir()
	url := model.URL
	if s.BaseURL != nil {
		url = s.BaseURL(url)
	}
	f.task = agent.Task{
		Dir: filepath.Join(dir, "workspace"), StateDir: filepath.Join(dir, "state", f.driver.Name()), HomeDir: filepath.Join(dir, "state", "home"),
		BaseURL: url, Token: token, Model: s.Model, PromptID: uuid.NewString(), IdleTimeout: patience,
	}
	for _, dir := range []string{f.task.Dir, f.task.StateDir, f.task.HomeDir} {
		require.NoError(t, os.MkdirAll(dir, 0o755))
	}
	return f
}

// wrap puts a shell script before the agent's program.
func (f *fixture) wrap(script string) {
	f.t.Helper()
	name := filepath.Join(f.t.TempDir(), "agent")
	require.NoError(f.t, os.WriteFile(name, fmt.Appendf(nil, "#!/bin/sh\n%s\nexec '%s' \"$@\"\n", script, f.subject.Program), 0o755))
	f.driver = f.subject.Driver(name)
}

// start begins an agent; its outcome comes from wait.
func (f *fixture) start(prompt string) *attempt { return f.startIn(context.Background(), prompt) }

func (f *fixture) startIn(ctx context.Context, prompt string) *attempt {
	f.t.Helper()
	r := &attempt{t: f.t, changed: make(chan struct{}), done: make(chan struct{})}
	task := f.task
	task.Prompt = prompt
	a, err := f.driver.New(task, r)
	require.NoError(f.t, err)
	r.agent = a
	go func() {
		defer close(r.done)
		r.outcome = a.Run(ctx)
	}()
	f.t.Cleanup(func() {
		a.End(agent.Canceled("the test is over"))
		<-r.done
	})
	return r
}

// run lets an agent work to its end.
func (f *fixture) run(prompt string) *attempt {
	f.t.Helper()
	r := f.start(prompt)
	r.wait()
	return r
}

func (f *fixture) file(name string) string {
	data, err := os.ReadFile(filepath.Join(f.task.Dir, name))
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// awaitWaiting waits until the agent's command waits for a file.
func (f *fixture) awaitWaiting() {
	f.t.Helper()
	require.Eventually(f.t, func() bool {
		_, err := os.Stat(filepath.Join(f.task.Dir, "waiting"))
		return err == nil
	}, patience, 10*time.Millisecond, "the agent's command does not wait")
}

func (f *fixture) touch(name string) {
	f.t.Helper()
	require.NoError(f.t, os.WriteFile(filepath.Join(f.task.Dir, name), nil, 0o644))
}

// attempt is an agent at work. It is its agent's sink.
type attempt struct {
	t       *testing.T
	agent   agent.Agent
	done    chan struct{}
	outcome agent.Outcome

	mu       sync.Mutex
	changed  chan struct{}
	payloads []*executorv1.RunEventPayload
	partial  strings.Builder
	changes  int
}

func (r *attempt) Emit(p *executorv1.RunEventPayload) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.payloads = append(r.payloads, p)
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *attempt) Partial(p *backendv1.PartialContent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.partial.WriteString(p.GetText())
}

func (r *attempt) FilesMayHaveChanged() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes++
}

func (r *attempt) Room() <-chan struct{} { return nil }

// wait waits for the end.
func (r *attempt) wait() agent.Outcome {
	r.t.Helper()
	select {
	case <-r.done:
	case <-time.After(patience):
		r.t.Fatalf("the agent does not end; it said:\n%s", r.log())
	}
	return r.outcome
}

func (r *attempt) requireEnd(status backendv1.RunStatus, reason backendv1.RunReason) {
	r.t.Helper()
	outcome := r.wait()
	require.Equal(r.t, status, outcome.Status, "%s: %s\n%s", outcome.Reason, outcome.Message, r.log())
	require.Equal(r.t, reason, outcome.Reason, outcome.Message)
}

// await returns the first event that a condition finds.
func await[T any](r *attempt, what string, find func(p *executorv1.RunEventPayload) (T, bool)) T {
	r.t.Helper()
	timeout := time.After(patience)
	for next := 0; ; {
		r.mu.Lock()
		payloads, changed := r.payloads, r.changed
		r.mu.Unlock()
		for ; next < len(payloads); next++ {
			if found, ok := find(payloads[next]); ok {
				return found
			}
		}
		select {
		case <-changed:
		case <-r.done:
			r.mu.Lock()
			ended := next == len(r.payloads)
			r.mu.Unlock()
			if ended {
				r.t.Fatalf("ended as %s %q without %s:\n%s", r.outcome.Reason, r.outcome.Message, what, r.log())
			}
		case <-timeout:
			r.t.Fatalf("no %s:\n%s", what, r.log())
		}
	}
}

func (r *attempt) started() *backendv1.AgentStarted {
	r.t.Helper()
	return await(r, "start", func(p *executorv1.RunEventPayload) (*backendv1.AgentStarted, bool) {
		return p.GetAgentStarted(), p.GetAgentStarted() != nil
	})
}

func (r *attempt) asked() *backendv1.UserInputRequested {
	r.t.Helper()
	return await(r, "question", func(p *executorv1.RunEventPayload) (*backendv1.UserInputRequested, bool) {
		return p.GetUserInputRequested(), p.GetUserInputRequested() != nil
	})
}

// choose answers a question with one of its options.
func (r *attempt) choose(asked *backendv1.UserInputRequested, label string) {
	r.agent.Answer(asked.GetUserInputRequestId(), []*backendv1.UserAnswer{{
		QuestionId: asked.GetQuestions()[0].GetId(), Selected: []string{label},
	}})
}

// said is the text of all messages of the agent.
func (r *attempt) said() string {
	return r.blocks(func(b *backendv1.ContentBlock) string { return b.GetText().GetText() })
}

// results are the outputs of all tools.
func (r *attempt) results() string {
	return r.blocks(func(b *backendv1.ContentBlock) string { return b.GetToolResult().GetContent() })
}

// calls are the names of all tools that were called.
func (r *attempt) calls() string {
	return r.blocks(func(b *backendv1.ContentBlock) string { return b.GetToolUse().GetName() })
}

func (r *attempt) blocks(text func(b *backendv1.ContentBlock) string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, p := range r.payloads {
		for _, b := range p.GetMessageAdded().GetBlocks() {
			if s := text(b); s != "" {
				all = append(all, s)
			}
		}
	}
	return strings.Join(all, "\n")
}

func (r *attempt) notices() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var codes []string
	for _, p := range r.payloads {
		if n := p.GetNotice(); n != nil {
			codes = append(codes, n.GetCode())
		}
	}
	return strings.Join(codes, " ")
}

// has says whether there is an event of a kind.
func (r *attempt) has(kind func(p *executorv1.RunEventPayload) bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.payloads {
		if kind(p) {
			return true
		}
	}
	return false
}

func (r *attempt) log() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := make([]string, 0, len(r.payloads))
	for _, p := range r.payloads {
		lines = append(lines, fmt.Sprintf("%.500s", p.String()))
	}
	return strings.Join(lines, "\n")
}
