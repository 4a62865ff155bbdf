package e2e

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/poco-ai/poco/db/dbtest"
	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/embedded"
	"github.com/poco-ai/poco/services/internal/retry"
	"github.com/poco-ai/poco/services/internal/scriptedmodel"
	"github.com/poco-ai/poco/services/internal/testkit"
	"github.com/poco-ai/poco/services/internal/testkit/output"
)

// How the storm blows; "task chaos" passes them on.
var (
	stormSeed   = flag.Uint64("storm.seed", 1, "what the storm's faults and prompts are drawn from")
	stormFaults = flag.Int("storm.faults", 20, "how many faults the storm has")
)

const (
	stormSessions = 12
	stormLease    = 6 * time.Second
	// stormCalm is how long everything may take to settle after the last fault;
	// it is reached only when something is stuck.
	stormCalm = 4 * time.Minute
)

// TestStorm has two managers work for twelve people who send prompts, answer
// questions and cancel, while parts of the system are killed, frozen, stopped
// and started again. Afterwards every run has to have done what it says it did:
// see the oracle. Which faults come when follows from -storm.seed.
func TestStorm(t *testing.T) {
	s := newStorm(t)
	s.begin()
	s.blow()
	s.settle()
	s.judge()
}

// storm is a stack under attack.
type storm struct {
	*stack
	seed     uint64
	managers []*program
	postgres *server[*embedded.Postgres]
	s3       *server[*embedded.S3]
	// dir holds what the agents' commands leave outside of their workspaces: the
	// ledger of executed steps, and the overlaps.
	dir     string
	people  []*person
	started time.Time
	logs    map[string]*output.Buffer
	// over ends the people's work; calm bounds it.
	over chan struct{}
	calm context.Context

	mu sync.Mutex
	// timeline is what happened, for anyone who has to understand a failure.
	timeline []string
	blamed   []string
}

// server is an embedded server that is taken away and comes back with the same
// data.
type server[S interface{ Stop(context.Context) error }] struct {
	start func() (S, error)
	now   S
}

func newStorm(t *testing.T) *storm {
	t.Helper()
	s := &storm{seed: *stormSeed, dir: t.TempDir(), logs: map[string]*output.Buffer{}, over: make(chan struct{})}
	t.Cleanup(func() {
		if t.Failed() {
			s.tell()
		}
	})
	pg, pgOptions := testkit.OwnPostgres(t)
	s3, s3Options := ownS3(t)
	s.postgres = &server[*embedded.Postgres]{now: pg, start: func() (*embedded.Postgres, error) {
		return embedded.StartPostgres(context.WithoutCancel(t.Context()), pgOptions)
	}}
	s.s3 = &server[*embedded.S3]{now: s3, start: func() (*embedded.S3, error) {
		return embedded.StartS3(context.WithoutCancel(t.Context()), s3Options)
	}}
	t.Cleanup(func() {
		require.NoError(t, s.postgres.now.Stop(context.Background()))
		require.NoError(t, s.s3.now.Stop(context.Background()))
	})
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "step"), []byte(stepScript(s.dir)), 0o755)) //nolint:gosec // agents run it
	s.stack = newStack(t, stackOptions{
		databaseURL: dbtest.Empty(t, pg.URL()),
		s3: &testkit.S3Server{
			Config: &configv1.ObjectStoreConfig{
				Endpoint: s3.Endpoint(), Bucket: "storm", Region: "us-east-1", ForcePathStyle: true, MaxAttempts: 3,
				PresignExpires: durationpb.New(time.Minute), ConnectTimeout: durationpb.New(5 * time.Second), ReadTimeout: durationpb.New(time.Minute),
			},
			AccessKey: config.NewSecret(s3Options.AccessKey), SecretKey: config.NewSecret(s3Options.SecretKey),
		},
		env: map[string]string{
			"TASK_CLAIM_LEASE_SECONDS": fmt.Sprint(stormLease.Seconds()), "MAX_CONCURRENT_TASKS": "4", "TASK_PULL_INTERVAL_SECONDS": "1",
		},
		scenarios: stormScenarios(filepath.Join(s.dir, "step")),
	})
	require.NoError(t, s.store.EnsureBucket(t.Context()))
	s.managers = []*program{s.manager, s.newManager()}
	for name, p := range map[string]*program{"backend": s.backend, "manager 1": s.managers[0], "manager 2": s.managers[1]} {
		s.logs[name] = &output.Buffer{}
		p.log, p.quiet = s.logs[name], true
		p.env["LOG_LEVEL"] = "INFO"
	}
	return s
}

// begin starts everything and lets the people loose.
func (s *storm) begin() {
	s.t.Helper()
	s.startBackend()
	for _, m := range s.managers {
		m.start()
	}
	s.started = time.Now()
	calm, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	s.t.Cleanup(cancel)
	s.calm = calm
	s.t.Logf("the storm's seed is %d, with %d faults: repeat it with task chaos -- -storm.seed=%d -storm.faults=%d", s.seed, *stormFaults, s.seed, *stormFaults)
	for i := range stormSessions {
		p := newPerson(s, i, rand.New(rand.NewPCG(s.seed, uint64(i)+1))) //nolint:gosec // a storm is no secret
		s.people = append(s.people, p)
		p.live()
	}
}

// blow carries out the plan of faults.
func (s *storm) blow() {
	s.t.Helper()
	rng := rand.New(rand.NewPCG(s.seed, 0)) //nolint:gosec // a storm is no secret
	began := s.started
	for _, a := range planFaults(s, rng, *stormFaults) {
		// What takes longer than planned, a start on a busy machine, postpones all
		// that follows: a fault lasts as long as it should.
		if late := time.Since(began.Add(a.at)); late > 0 {
			began = began.Add(late)
		}
		retry.Pause(s.calm, time.Until(began.Add(a.at)))
		s.note("%s", a.what)
		a.do()
	}
	s.t.Logf("the last fault is over after %s", time.Since(s.started).Round(time.Second))
}

// settle waits until everybody has what they asked for.
func (s *storm) settle() {
	s.t.Helper()
	close(s.over)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, p := range s.people {
			<-p.done
		}
	}()
	timeout := time.NewTimer(stormCalm)
	defer timeout.Stop()
	select {
	case <-done:
	case <-timeout.C:
		for _, p := range s.people {
			s.t.Log(p.describe())
		}
		s.t.Fatalf("not everybody has what they asked for %s after the last fault", stormCalm)
	}
}

// note remembers what happened, and shows it when the storm is watched.
func (s *storm) note(format string, args ...any) {
	line := fmt.Sprintf("%8.3f  ", time.Since(s.started).Seconds()) + fmt.Sprintf(format, args...)
	s.mu.Lock()
	s.timeline = append(s.timeline, line)
	s.mu.Unlock()
	if testing.Verbose() {
		s.t.Log(line)
	}
}

// blame notes something that must not have happened.
func (s *storm) blame(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	s.note("WRONG: %s", line)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blamed = append(s.blamed, line)
}

// tell shows all that is known of a storm that went wrong.
func (s *storm) tell() {
	s.mu.Lock()
	timeline := strings.Join(s.timeline, "\n")
	s.mu.Unlock()
	if !testing.Verbose() {
		s.t.Logf("what happened (seed %d):\n%s", s.seed, timeline)
	}
	for name, log := range s.logs {
		path := filepath.Join(os.TempDir(), fmt.Sprintf("poco-storm-%d-%s.log", s.seed, strings.ReplaceAll(name, " ", "-")))
		if err := os.WriteFile(path, []byte(log.String()), 0o600); err == nil {
			s.t.Logf("the log of %s is in %s", name, path)
		}
	}
}

// stormScenarios are what the model does with the people's prompts. The argument
// is the prompt's label.
func stormScenarios(step string) []scriptedmodel.Scenario {
	say := func(text string) scriptedmodel.Block { return scriptedmodel.Block{Text: text} }
	do := func(name, seconds string) scriptedmodel.Block {
		return scriptedmodel.Block{Tool: &scriptedmodel.Tool{Name: "Bash", Input: map[string]any{
			"command": step + " {arg} " + name + " " + seconds, "description": name,
		}}}
	}
	ask := scriptedmodel.Block{Tool: &scriptedmodel.Tool{Name: "AskUserQuestion", Input: map[string]any{"questions": []any{map[string]any{
		"question": "How shall {arg} go on?", "header": "Way", "multiSelect": false,
		"options": []any{
			map[string]any{"label": "Left", "description": "Left"}, map[string]any{"label": "Right", "description": "Right"},
		},
	}}}}}
	end := scriptedmodel.Turn{Blocks: []scriptedmodel.Block{say("Finished {arg}.")}}
	return []scriptedmodel.Scenario{
		{Name: kindWork, Turns: []scriptedmodel.Turn{
			{Blocks: []scriptedmodel.Block{say("Beginning {arg}."), do("one", "0.2")}},
			{Blocks: []scriptedmodel.Block{do("two", "0.1")}},
			end,
		}},
		{Name: kindLong, Turns: []scriptedmodel.Turn{
			{Blocks: []scriptedmodel.Block{say("Beginning {arg}."), do("one", "2")}},
			{Blocks: []scriptedmodel.Block{do("two", "3")}},
			end,
		}},
		{Name: kindAsk, Turns: []scriptedmodel.Turn{
			{Blocks: []scriptedmodel.Block{say("Beginning {arg}."), do("one", "0")}},
			{Blocks: []scriptedmodel.Block{ask}},
			{Blocks: []scriptedmodel.Block{do("two", "0.1")}},
			end,
		}},
	}
}

// stepScript is the command of every step: it notes that it was executed, and
// whether another one was at work in the same workspace.
func stepScript(dir string) string {
	return `#!/bin/sh
# $1: label of the prompt, $2: step, $3: seconds of work
exec 9>"` + dir + `/lock-$(basename "$(dirname "$PWD")")"
flock -n 9 || echo "$1 $2" >>"` + dir + `/overlaps"
echo "$1 $2" >>"` + dir + `/ledger"
echo "$2" >>"work-$1.txt"
sleep "$3"
echo "did $1 $2"
`
}
