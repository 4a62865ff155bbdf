// Package backendtest runs the backend's parts on a database of a test's own.
package backendtest

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/poco-ai/poco/db/dbtest"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/gen/go/poco/backend/v1/backendv1connect"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/gen/go/poco/queue/v1/queuev1connect"
	"github.com/poco-ai/poco/services/backend/internal/hint"
	"github.com/poco-ai/poco/services/backend/internal/page"
	"github.com/poco-ai/poco/services/backend/internal/queue"
	"github.com/poco-ai/poco/services/backend/internal/run"
	"github.com/poco-ai/poco/services/backend/internal/session"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/backend/internal/task"
	"github.com/poco-ai/poco/services/backend/internal/userinput"
	"github.com/poco-ai/poco/services/backend/internal/watch"
	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/retry"
	"github.com/poco-ai/poco/services/internal/rpcserver"
	"github.com/poco-ai/poco/services/internal/testkit"
)

// User is the user of a test that needs only one.
const User = auth.DefaultUser

// Lease is longer than any test.
const Lease = time.Hour

// claimPatience is how long a claim is tried again.
const claimPatience = 30 * time.Second

var errNoRun = errors.New("there is no run to claim")

// Backend is a backend without its server.
type Backend struct {
	Pool      *pgxpool.Pool
	Bus       *hint.Bus
	Feeds     *watch.Feeds
	Store     *store.Store
	Queue     *queue.Queue
	Tasks     *task.Service
	Runs      *run.Service
	Sessions  *session.Service
	Questions *userinput.Service
	// Here is how long the backend says that it has been there: for ever, unless
	// a test says otherwise.
	Here *Presence
}

// Presence is what a test makes of a backend's presence.
type Presence struct{ since atomic.Int64 }

// Set says how long the backend has been there.
func (p *Presence) Set(d time.Duration) { p.since.Store(int64(d)) }

// For implements queue.Presence.
func (p *Presence) For() time.Duration { return time.Duration(p.since.Load()) }

// Lost implements queue.Presence.
func (p *Presence) Lost() { p.Set(0) }

// New runs a backend on a new database until the end of the test.
func New(t testing.TB) *Backend { return On(t, dbtest.URL(t, testkit.Postgres(t))) }

// On runs a backend on a database until the end of the test.
func On(t testing.TB, databaseURL string) *Backend {
	t.Helper()
	pool := dbtest.PoolOn(t, databaseURL)
	logger := slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.Background())
	bus := hint.NewBus(pool, logger)
	st := store.New(pool, bus)
	feeds := watch.NewFeeds(st, bus, logger)
	here := new(Presence)
	here.Set(1000 * time.Hour)
	q := queue.New(st, bus, logger, queue.Timing{UserInput: time.Hour, WorkerGone: 10 * time.Minute}, here)
	var work errgroup.Group
	work.Go(func() error { return feeds.Run(ctx) })
	work.Go(func() error { return bus.Run(ctx) })
	work.Go(func() error { return q.Sweep(ctx) })
	t.Cleanup(func() {
		cancel()
		require.NoError(t, work.Wait())
	})
	tokens := page.NewTokens(config.NewSecret("test"))
	return &Backend{
		Pool: pool, Bus: bus, Feeds: feeds, Store: st, Queue: q, Tasks: task.New(st, q.SweepBy), Runs: run.New(st, tokens),
		Sessions: session.New(st, tokens, nil, bus, feeds), Questions: userinput.New(st, tokens), Here: here,
	}
}

// Serve serves the backend until the end of the test, and returns its address.
func (b *Backend) Serve(t testing.TB) string {
	t.Helper()
	server, err := rpcserver.New(rpcserver.Options{
		Service: "backend", Addrs: []string{"127.0.0.1:0"},
		Interceptors: []connect.ServerInterceptor{auth.UserInterceptor(config.Secret{})},
	})
	require.NoError(t, err)
	backendv1connect.RegisterTaskServiceHandler(server.Connect(), b.Tasks)
	backendv1connect.RegisterSessionServiceHandler(server.Connect(), b.Sessions)
	backendv1connect.RegisterRunServiceHandler(server.Connect(), b.Runs)
	backendv1connect.RegisterUserInputServiceHandler(server.Connect(), b.Questions)
	queuev1connect.RegisterRunQueueServiceHandler(server.Connect(), b.Queue)
	require.NoError(t, server.Start())
	t.Cleanup(func() { require.NoError(t, server.Shutdown(context.WithoutCancel(t.Context()))) })
	return server.Addr().String()
}

// Enqueue queues a prompt of User in a session, or in a new one.
func (b *Backend) Enqueue(t testing.TB, sessionID, prompt string) *backendv1.EnqueueTaskResponse {
	t.Helper()
	e, err := b.Tasks.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{Prompt: prompt, SessionId: sessionID})
	require.NoError(t, err)
	return e
}

// Claim claims one run, which there must be. It tries again when it gets none: a
// claim passes over a session that another transaction has locked, as the sweep's
// may, which says nothing afterwards when it has changed nothing.
func (b *Backend) Claim(t testing.TB, worker string) *queuev1.ClaimedRun {
	t.Helper()
	claimed, err := backoff.Retry(t.Context(), func() (*queuev1.ClaimedRun, error) {
		runs, err := b.Queue.Claim(t.Context(), worker, 1, nil, Lease)
		switch {
		case err != nil:
			return nil, backoff.Permanent(err)
		case len(runs) == 0:
			return nil, errNoRun
		}
		return runs[0], nil
	}, backoff.WithBackOff(retry.BackOff(time.Millisecond, 100*time.Millisecond)), backoff.WithMaxElapsedTime(claimPatience))
	require.NoError(t, err)
	return claimed
}

// Start enqueues, claims and starts a run in a new session.
func (b *Backend) Start(t testing.TB, worker string) *queuev1.ClaimedRun {
	t.Helper()
	b.Enqueue(t, "", "do it")
	claimed := b.Claim(t, worker)
	_, err := b.Queue.Start(t.Context(), claimed.GetRun().GetId(), claimed.GetFencingToken())
	require.NoError(t, err)
	return claimed
}

// Append stores events of a claimed run.
func (b *Backend) Append(t testing.TB, c *queuev1.ClaimedRun, events ...*executorv1.RunEvent) queue.Ack {
	t.Helper()
	ack, err := b.Queue.Append(t.Context(), c.GetRun().GetId(), c.GetFencingToken(), 0, events, nil)
	require.NoError(t, err)
	return ack
}

// Run reads a run of User.
func (b *Backend) Run(t testing.TB, id string) *backendv1.Run {
	t.Helper()
	resp, err := b.Runs.GetRun(t.Context(), &backendv1.GetRunRequest{RunId: id})
	require.NoError(t, err)
	return resp.GetRun()
}

// Session reads a session of User.
func (b *Backend) Session(t testing.TB, id string) *backendv1.Session {
	t.Helper()
	resp, err := b.Sessions.GetSession(t.Context(), &backendv1.GetSessionRequest{SessionId: id})
	require.NoError(t, err)
	return resp.GetSession()
}

// Delete deletes a session of User.
func (b *Backend) Delete(t testing.TB, id string) {
	t.Helper()
	_, err := b.Sessions.DeleteSession(t.Context(), &backendv1.DeleteSessionRequest{SessionId: id})
	require.NoError(t, err)
}

// Cancel cancels a run of User.
func (b *Backend) Cancel(t testing.TB, id, reason string) *backendv1.Run {
	t.Helper()
	resp, err := b.Runs.CancelRun(t.Context(), &backendv1.CancelRunRequest{RunId: id, Reason: reason})
	require.NoError(t, err)
	return resp.GetRun()
}

// Event is a run's event.
func Event(seq int64, payload *executorv1.RunEventPayload) *executorv1.RunEvent {
	return &executorv1.RunEvent{RunSeq: seq, OccurredAt: timestamppb.Now(), Payload: payload}
}

// AgentStarted is the event that proves that the agent took the prompt.
func AgentStarted(seq int64, agentSessionID string) *executorv1.RunEvent {
	return Event(seq, &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_AgentStarted{
		AgentStarted: &backendv1.AgentStarted{AgentSessionId: agentSessionID},
	}})
}

// Text is an event with a message of the assistant.
func Text(seq int64, text string) *executorv1.RunEvent {
	return Message(seq, &backendv1.ContentBlock{Kind: &backendv1.ContentBlock_Text{Text: &backendv1.TextBlock{Text: text}}})
}

// Message is an event with a message of the assistant.
func Message(seq int64, blocks ...*backendv1.ContentBlock) *executorv1.RunEvent {
	return Event(seq, &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_MessageAdded{MessageAdded: &backendv1.MessageAdded{
		MessageId: uuid.NewString(), Role: backendv1.MessageRole_MESSAGE_ROLE_ASSISTANT, Blocks: blocks, VerbatimJson: `{"type":"assistant"}`,
	}}})
}

// Finished is the event that ends a run.
func Finished(seq int64, status backendv1.RunStatus) *executorv1.RunEvent {
	return Event(seq, &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_RunFinished{RunFinished: &backendv1.RunFinished{
		Status: status, Usage: &backendv1.Usage{TotalCostUsd: 0.5, InputTokens: 10, OutputTokens: 5},
	}}})
}

// Question is an event with a question of the agent.
func Question(seq int64, id string, expires time.Time) *executorv1.RunEvent {
	return Event(seq, &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_UserInputRequested{UserInputRequested: &backendv1.UserInputRequested{
		UserInputRequestId: id, ToolName: "AskUserQuestion", ExpiresAt: timestamppb.New(expires),
		Questions: []*backendv1.UserQuestion{{Id: "1", Question: "Which?", Options: []*backendv1.UserQuestionOption{{Label: "A"}, {Label: "B"}}}},
	}}})
}

// Answers are answers to Question.
func Answers() []*backendv1.UserAnswer {
	return []*backendv1.UserAnswer{{QuestionId: "1", Selected: []string{"A"}}}
}

// Commands reads what a worker has not acknowledged.
func (b *Backend) Commands(t testing.TB, worker string) []*queuev1.RunCommand {
	t.Helper()
	ids, err := b.Store.Read().RunCommandListIDs(t.Context(), worker)
	require.NoError(t, err)
	commands := make([]*queuev1.RunCommand, 0, len(ids))
	for _, id := range ids {
		raw, err := b.Store.Read().RunCommandGet(t.Context(), id)
		require.NoError(t, err)
		cmd := new(queuev1.RunCommand)
		require.NoError(t, proto.Unmarshal(raw, cmd))
		commands = append(commands, cmd)
	}
	return commands
}
