package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/testkit"
)

// newBenchStack is a stack in the process runtime on a Postgres that is set up
// as "poco up" does, durable commits included.
func newBenchStack(b *testing.B, cliMode string) *stack {
	b.Helper()
	server, _ := testkit.OwnPostgres(b)
	cli, _ := newFakeCLI(b, cliMode)
	return newStack(b, stackOptions{databaseURL: server.URL(), cli: cli})
}

// BenchmarkStartRun is the time from the EnqueueTask call until the executor of
// the run has accepted it, one run at a time. The end is the manager's log line
// "run started", which it writes when ExecutorService.StartRun has answered.
func BenchmarkStartRun(b *testing.B) {
	s := newBenchStack(b, cliCompletes)
	started := &startLog{seen: make(chan startedRun, 1)}
	s.manager.log = started
	s.manager.env["LOG_LEVEL"], s.manager.env["LOG_FORMAT"] = "INFO", "json"
	s.start()
	s.completeRun(started) // the first run opens connections
	var took []time.Duration
	for b.Loop() {
		took = append(took, s.completeRun(started))
	}
	reportQuantiles(b, took)
	b.ReportMetric(0, "ns/op") // the whole run, which says nothing
}

// completeRun returns how long a run took to be accepted by its executor, once
// it has ended and its workspace is exported.
func (s *stack) completeRun(started *startLog) time.Duration {
	s.t.Helper()
	asked := time.Now()
	session, run := s.enqueue("hello", "")
	at := <-started.seen
	require.Equal(s.t, run, at.run)
	s.awaitIdle(session)
	return at.at.Sub(asked)
}

// awaitIdle returns when nothing more is to be expected of a session.
func (s *stack) awaitIdle(session string) {
	s.t.Helper()
	stream, err := s.sessions.WatchSession(s.t.Context(), &backendv1.WatchSessionRequest{SessionId: session, StopWhenIdle: true})
	require.NoError(s.t, err)
	for err == nil {
		_, err = stream.Recv()
	}
	require.Equal(s.t, backendv1.SessionStatus_SESSION_STATUS_COMPLETED, s.session(session).GetStatus())
}

// startedRun is a run that its executor has accepted.
type startedRun struct {
	run string
	at  time.Time
}

// startLog finds the line "run started" in a manager's log.
type startLog struct {
	seen chan startedRun

	mu   sync.Mutex
	rest []byte
}

// Write implements io.Writer.
func (l *startLog) Write(p []byte) (int, error) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, p...)
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		var entry struct {
			Message string `json:"msg"`
			RunID   string `json:"run_id"`
		}
		if json.Unmarshal(line, &entry) == nil && entry.Message == "run started" {
			l.seen <- startedRun{entry.RunID, now}
		}
		l.rest = rest
	}
}

// streamTime is how long the CLI of BenchmarkEvents talks.
const streamTime = 10 * time.Second

// BenchmarkEvents is the time from an event's occurrence in the executor until
// a watcher has it: through the executor's channel, the manager, and the
// backend's commit. Both are read from this machine's one clock. Each event is
// a message of the CLI, so its projection is written as well.
func BenchmarkEvents(b *testing.B) {
	for _, rate := range []int{100, 1000} {
		b.Run(fmt.Sprintf("rate=%d", rate), func(b *testing.B) {
			s := newBenchStack(b, cliStreams).start()
			var took []time.Duration
			for b.Loop() {
				took = append(took, s.streamEvents(rate)...)
			}
			reportQuantiles(b, took)
			b.ReportMetric(0, "ns/op")
		})
	}
}

// streamEvents has one run say much and returns what each message took.
func (s *stack) streamEvents(rate int) []time.Duration {
	s.t.Helper()
	session, _ := s.enqueue(streamPrompt(rate, int(streamTime.Seconds())*rate), "")
	stream, err := s.sessions.WatchSession(s.t.Context(), &backendv1.WatchSessionRequest{SessionId: session, StopWhenIdle: true})
	require.NoError(s.t, err)
	var took []time.Duration
	for {
		message, err := stream.Recv()
		now := time.Now()
		if err != nil {
			break
		}
		e := message.GetEvent()
		if e.GetPayload().GetMessageAdded().GetRole() == backendv1.MessageRole_MESSAGE_ROLE_ASSISTANT {
			took = append(took, now.Sub(e.GetOccurredAt().AsTime()))
		}
	}
	require.Len(s.t, took, int(streamTime.Seconds())*rate+1)
	return took
}

// streamPrompt makes the fake CLI say count messages at a rate per second.
func streamPrompt(rate, count int) string { return fmt.Sprintf("%d %d", rate, count) }

// stream plays a streamPrompt.
func stream(prompt any, say func(id, text string)) {
	var rate, count int
	if _, err := fmt.Sscan(fmt.Sprint(prompt), &rate, &count); err != nil {
		panic(err)
	}
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for i := range count {
		<-tick.C
		say("msg_"+strconv.Itoa(i+2), "The quick brown fox jumps over the lazy dog.")
	}
}

// BenchmarkIdleMemory is what the backend's and the manager's programs keep in
// memory when nothing happens.
func BenchmarkIdleMemory(b *testing.B) {
	s := newBenchStack(b, cliCompletes).start()
	settled := time.NewTimer(settleTime)
	<-settled.C
	for b.Loop() {
		b.ReportMetric(residentMiB(b, s.backend), "backend-MiB")
		b.ReportMetric(residentMiB(b, s.manager), "manager-MiB")
	}
	b.ReportMetric(0, "ns/op")
}

// settleTime is what a program's start, and the polls of its first moments, get
// to be over.
const settleTime = 5 * time.Second

// residentMiB is a program's VmRSS.
func residentMiB(b *testing.B, p *program) float64 {
	b.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	require.NoError(b, err)
	for line := range strings.Lines(string(content)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 64)
			require.NoError(b, err)
			return kib / 1024
		}
	}
	require.FailNow(b, "no VmRSS")
	return 0
}

// reportQuantiles reports the median and the 99th percentile.
func reportQuantiles(b *testing.B, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	at := func(q float64) float64 {
		return float64(took[min(len(took)-1, int(q*float64(len(took))))].Microseconds()) / 1000
	}
	b.ReportMetric(at(0.50), "p50-ms")
	b.ReportMetric(at(0.99), "p99-ms")
}
