// Package queuetest is a scripted run queue for the manager's tests: the
// backend's rules of claims, fencing and event numbers, in memory. It keeps the
// contract that the backend keeps, see contracttest.
package queuetest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
)

// patience bounds every wait; it is only ever reached by a bug.
const patience = 30 * time.Second

// user is everybody.
const user = "default"

// Run is a run as the queue has it.
type Run struct {
	ID, SessionID, Prompt string
	Config                *backendv1.TaskConfig
	Status                backendv1.RunStatus
	Reason                backendv1.RunReason
	Message               string
	Token                 int64
	Attempt               int32
	Events                []*executorv1.RunEvent
	Partials              []*backendv1.PartialContent
	// Appends counts the calls that stored something.
	Appends  int
	Renewals int
	// Offered is the attempt that StartRun was called for first; 0 when for none.
	Offered int32
	// Submitted tells whether an event proved that the agent took the prompt.
	Submitted bool
	// Worker holds it, or held it at its end.
	Worker string
	// CancelMessage is why it was canceled.
	CancelMessage string
	// Resumes counts the executors that were lost while the run went on.
	Resumes int
}

// session is what outlives a session's runs.
type session struct {
	// owner is the worker that has the workspace, snapshot what it is kept as.
	owner, snapshot string
	// conversations are the agents' own ids of theirs.
	conversations map[string]string
	// export is the run whose export is pending; empty when none is.
	export  string
	deleted bool
}

// command is a command for a worker, or for all when it names none.
type command struct {
	worker string
	*queuev1.RunCommand
}

// Queue is a client of itself.
type Queue struct {
	mu       sync.Mutex
	changed  chan struct{}
	runs     []*Run
	sessions map[string]*session
	commands []command
	acked    []string
	reports  []*queuev1.ReportExportRequest
	fail     map[string]error
	refused  map[string]int
	hints    int
	// environment is what every run's config resolves to.
	environment *executorv1.RunEnvironment
	// heard has the workers that are not gone.
	heard map[string]bool
}

var _ queuev1.RunQueueServiceClient = (*Queue)(nil)

// New returns an empty queue.
func New() *Queue {
	return &Queue{
		changed: make(chan struct{}), fail: make(map[string]error), refused: make(map[string]int),
		sessions: make(map[string]*session), heard: make(map[string]bool), environment: &executorv1.RunEnvironment{},
	}
}

// Resolve sets what the configs of runs resolve to.
func (q *Queue) Resolve(environment *executorv1.RunEnvironment) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.environment = environment
}

// Enqueue adds a run of a session and hints at it.
func (q *Queue) Enqueue(sessionID, prompt string, config *backendv1.TaskConfig) string {
	q.mu.Lock()
	defer q.mu.Unlock()
	r := &Run{ID: uuid.NewString(), SessionID: sessionID, Prompt: prompt, Config: config, Status: queued}
	q.runs = append(q.runs, r)
	q.hints++
	q.notify()
	return r.ID
}

// Fail makes a method fail; nil makes it work again.
func (q *Queue) Fail(method string, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.fail[method] = err
	q.notify()
}

// Unavailable is the error of a backend that is away.
func Unavailable() error { return status.Error(codes.Unavailable, "scripted outage") }

// Command queues a command for anyone who watches.
func (q *Queue) Command(cmd *queuev1.RunCommand) string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.command("", cmd)
}

// Cancel cancels a run, and returns the id of its worker's command.
func (q *Queue) Cancel(runID, message string) string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.cancel(q.find(runID), message)
}

// Delete deletes a session, and returns the id of the command to forget it.
func (q *Queue) Delete(sessionID string) string {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.session(sessionID).deleted = true
	for _, r := range q.runs {
		if r.SessionID == sessionID {
			q.cancel(r, "The session was deleted.")
		}
	}
	return q.command("", &queuev1.RunCommand{
		SessionId: sessionID, UserId: user, Kind: &queuev1.RunCommand_DeleteSession{DeleteSession: &queuev1.DeleteSessionCommand{}},
	})
}

// Expire lets a run's lease run out, and acts on it.
func (q *Queue) Expire(runID string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.expire(q.find(runID))
	q.notify()
}

// Leave lets the time pass after which a worker is gone.
func (q *Queue) Leave(worker string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.heard, worker)
}

// Steal gives a run's claim to somebody else.
func (q *Queue) Steal(runID string) { q.Update(runID, func(r *Run) { r.Token++ }) }

// Update changes a run.
func (q *Queue) Update(runID string, change func(*Run)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	change(q.find(runID))
	q.notify()
}

// Move says where a session's workspace is, and what it is kept as.
func (q *Queue) Move(sessionID, worker, snapshotKey string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.session(sessionID)
	s.owner, s.snapshot = worker, snapshotKey
}

// Owe makes a worker owe the export of a run.
func (q *Queue) Owe(worker, sessionID, runID string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.session(sessionID)
	s.owner, s.export = worker, runID
}

// View is what Await looks at.
type View struct {
	Acked   []string
	Reports []*queuev1.ReportExportRequest
	q       *Queue
}

// Run returns a copy of a run.
func (v View) Run(id string) Run { return *v.q.find(id) }

// Refused counts the calls of a method that Fail has made fail.
func (v View) Refused(method string) int { return v.q.refused[method] }

// Claimed counts the runs that are claimed, running or canceling.
func (v View) Claimed() int {
	n := 0
	for _, r := range v.q.runs {
		if r.active() {
			n++
		}
	}
	return n
}

// Await waits until ok says so.
func (q *Queue) Await(t testing.TB, what string, ok func(View) bool) {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		q.mu.Lock()
		met, changed := ok(View{Acked: q.acked, Reports: q.reports, q: q}), q.changed
		q.mu.Unlock()
		if met {
			return
		}
		select {
		case <-changed:
		case <-timeout.C:
			q.mu.Lock()
			for _, r := range q.runs {
				t.Logf("run %s: %v %s %q, %d events", r.ID, r.Status, r.Reason, r.Message, len(r.Events))
			}
			q.mu.Unlock()
			require.FailNow(t, "never happened: "+what)
		}
	}
}

// AwaitStatus waits for a run's status and returns the run.
func (q *Queue) AwaitStatus(t testing.TB, runID string, want backendv1.RunStatus) Run {
	t.Helper()
	var got Run
	q.Await(t, fmt.Sprintf("run is %v", want), func(v View) bool {
		got = v.Run(runID)
		return got.Status == want
	})
	return got
}

func (q *Queue) notify() {
	close(q.changed)
	q.changed = make(chan struct{})
}
