package session_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/poco-ai/poco/db/dbtest"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/backend/internal/backendtest"
	"github.com/poco-ai/poco/services/backend/internal/hint"
	"github.com/poco-ai/poco/services/backend/internal/page"
	"github.com/poco-ai/poco/services/backend/internal/session"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/backend/internal/watch"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/embedded"
	"github.com/poco-ai/poco/services/internal/rpcerror"
	"github.com/poco-ai/poco/services/internal/testkit"
)

// watcher runs a watch in the background and hands over what it receives.
type watcher struct {
	t    *testing.T
	c    chan *backendv1.WatchSessionResponse
	done chan error
	seq  int64
}

func follow(t *testing.T, b *backendtest.Backend, sessionID string, after int64, stopWhenIdle bool) *watcher {
	t.Helper()
	return followWith(t, b, &backendv1.WatchSessionRequest{SessionId: sessionID, AfterSeq: after, StopWhenIdle: stopWhenIdle})
}

func followWith(t *testing.T, b *backendtest.Backend, req *backendv1.WatchSessionRequest) *watcher {
	t.Helper()
	// Unbuffered: what was sent has been read when the watch ends.
	w := &watcher{t: t, c: make(chan *backendv1.WatchSessionResponse), done: make(chan error, 1), seq: req.GetAfterSeq()}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		w.done <- b.Sessions.Watch(ctx, backendtest.User, req, func(m *backendv1.WatchSessionResponse) error {
			select {
			case w.c <- m:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return w
}

// until reads up to an event with the given run_seq and checks that the events'
// numbers have no gap and none comes twice.
func (w *watcher) until(found func(*backendv1.WatchSessionResponse) bool) *backendv1.WatchSessionResponse {
	w.t.Helper()
	for {
		select {
		case m := <-w.c:
			if e := m.GetEvent(); e != nil {
				require.Equal(w.t, w.seq+1, e.GetSeq())
				w.seq = e.GetSeq()
			}
			if found(m) {
				return m
			}
		case err := <-w.done:
			require.NoError(w.t, err)
			require.Fail(w.t, "the watch ended")
		}
	}
}

func (w *watcher) untilRunSeq(seq int64) {
	w.t.Helper()
	w.until(func(m *backendv1.WatchSessionResponse) bool { return m.GetEvent().GetRunSeq() == seq })
}

func caughtUp(m *backendv1.WatchSessionResponse) bool { return m.GetCaughtUp() != nil }

func TestWatchHistoryThenLive(t *testing.T) {
	b := backendtest.New(t)
	c := b.Start(t, "w1")
	id := c.GetRun().GetSessionId()
	b.Append(t, c, backendtest.Text(1, "one"))

	w := follow(t, b, id, 0, false)
	require.Equal(t, w.until(caughtUp).GetCaughtUp().GetSeq(), w.seq)
	b.Append(t, c, backendtest.Text(2, "two"), backendtest.Text(3, "three"))
	w.untilRunSeq(3)

	later := follow(t, b, id, w.seq-1, false)
	later.untilRunSeq(3)

	err := b.Sessions.Watch(t.Context(), backendtest.User, &backendv1.WatchSessionRequest{SessionId: id, AfterSeq: 1000}, nil)
	require.Equal(t, backendv1.ErrorReason_ERROR_REASON_CURSOR_AHEAD, rpcerror.Reason(err))
	err = b.Sessions.Watch(t.Context(), "someone-else", &backendv1.WatchSessionRequest{SessionId: id}, nil)
	require.Equal(t, backendv1.ErrorReason_ERROR_REASON_NOT_FOUND, rpcerror.Reason(err))
}

// TestOwnEventsAreNotRead: what this backend has stored reaches its watchers
// without a query.
func TestOwnEventsAreNotRead(t *testing.T) {
	b := backendtest.New(t)
	reads := new(reads)
	cfg := b.Pool.Config()
	cfg.ConnConfig.Tracer = reads
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	st := store.New(pool, b.Bus)
	feeds := watch.NewFeeds(st, b.Bus, slog.New(slog.DiscardHandler))
	b.Sessions = session.New(st, page.NewTokens(config.NewSecret("test")), nil, b.Bus, feeds)
	c := b.Start(t, "w1")
	w := follow(t, b, c.GetRun().GetSessionId(), 0, false)
	w.until(caughtUp)
	reads.n.Store(0)
	for seq := range int64(20) {
		b.Append(t, c, backendtest.Text(seq+1, "one"))
		m := w.until(func(m *backendv1.WatchSessionResponse) bool { return m.GetEvent().GetRunSeq() == seq+1 })
		require.Equal(t, "one", m.GetEvent().GetPayload().GetMessageAdded().GetBlocks()[0].GetText().GetText())
	}
	require.Zero(t, reads.n.Load())
}

// reads counts the queries for events.
type reads struct{ n atomic.Int64 }

func (r *reads) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if strings.HasPrefix(data.SQL, "-- name: RunEventListAfter ") {
		r.n.Add(1)
	}
	return ctx
}

func (*reads) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// A message as the agent sent it comes to those who ask for it, and the same
// event without it to everybody else.
func TestVerbatimOnRequest(t *testing.T) {
	b := backendtest.New(t)
	c := b.Start(t, "w1")
	id := c.GetRun().GetSessionId()
	message := func(seq int64) *executorv1.RunEvent {
		e := backendtest.Text(seq, "hello")
		e.GetPayload().GetMessageAdded().ParentToolUseId = "toolu_1"
		return e
	}
	b.Append(t, c, message(1))
	plain := followWith(t, b, &backendv1.WatchSessionRequest{SessionId: id})
	full := followWith(t, b, &backendv1.WatchSessionRequest{SessionId: id, IncludeVerbatim: true})
	for seq := int64(1); seq <= 2; seq++ { // one of the history, one live
		if seq == 2 {
			plain.until(caughtUp)
			full.until(caughtUp)
			b.Append(t, c, message(2))
		}
		of := func(m *backendv1.WatchSessionResponse) bool { return m.GetEvent().GetRunSeq() == seq }
		whole, bare := full.until(of).GetEvent(), plain.until(of).GetEvent()
		require.JSONEq(t, `{"type":"assistant"}`, whole.GetPayload().GetMessageAdded().GetVerbatimJson())
		for _, m := range []protoreflect.Message{whole.ProtoReflect(), whole.GetPayload().GetMessageAdded().ProtoReflect()} {
			for i := range m.Descriptor().Fields().Len() {
				fd := m.Descriptor().Fields().Get(i)
				require.True(t, m.Has(fd), "%s, so that it is seen whether it is passed on", fd.FullName())
			}
		}
		want := proto.CloneOf(whole)
		want.GetPayload().GetMessageAdded().VerbatimJson = ""
		require.Equal(t, protojson.Format(want), protojson.Format(bare))
	}
}

func TestWatchStopsWhenIdle(t *testing.T) {
	b := backendtest.New(t)
	c := b.Start(t, "w1")
	id := c.GetRun().GetSessionId()
	w := follow(t, b, id, 0, true)
	w.until(caughtUp)
	b.Append(t, c, backendtest.Finished(1, completed))
	w.untilRunSeq(1)
	resp, err := b.Queue.ReportExport(t.Context(), &queuev1.ReportExportRequest{
		WorkerId: "w1", SessionId: id, RunId: c.GetRun().GetId(), Status: backendv1.ExportStatus_EXPORT_STATUS_FAILED, Reason: "no space",
	})
	require.NoError(t, err)
	require.True(t, resp.GetAccepted())
	w.until(func(m *backendv1.WatchSessionResponse) bool {
		return m.GetEvent().GetPayload().GetExportChanged().GetReason() == "no space"
	})
	require.NoError(t, <-w.done, "ends by itself after the export")

	idle := follow(t, b, id, 0, true)
	idle.until(caughtUp)
	require.NoError(t, <-idle.done)
}

func TestPartialsReachWatchersOfEveryBackend(t *testing.T) {
	url := dbtest.URL(t, testkit.Postgres(t))
	one, two := backendtest.On(t, url), backendtest.On(t, url)
	listening(t, one, 1)
	listening(t, two, 1)
	c := one.Start(t, "w1")
	w := follow(t, two, c.GetRun().GetSessionId(), 0, false)
	w.until(caughtUp)
	local := follow(t, one, c.GetRun().GetSessionId(), 0, false)
	local.until(caughtUp)

	long := make([]byte, 20000)
	for i := range long {
		long[i] = 'x'
	}
	_, err := one.Queue.Append(t.Context(), c.GetRun().GetId(), c.GetFencingToken(), 0, []*executorv1.RunEvent{backendtest.Text(1, "one")},
		[]*backendv1.PartialContent{{AgentMessageId: "m", AfterRunSeq: 1, Delta: &backendv1.PartialContent_Text{Text: string(long)}}})
	require.NoError(t, err)
	for _, w := range []*watcher{w, local} {
		w.untilRunSeq(1) // the event comes before the text that follows it
		text := ""
		for len(text) < len(long) {
			text += w.until(func(m *backendv1.WatchSessionResponse) bool { return m.GetPartial() != nil }).GetPartial().GetText()
		}
		require.Equal(t, string(long), text)
	}
	for _, m := range history(t, one, c.GetRun().GetSessionId()) {
		require.Nil(t, m.GetPartial(), "text being written is not stored")
	}
}

func history(t *testing.T, b *backendtest.Backend, id string) []*backendv1.WatchSessionResponse {
	t.Helper()
	var list []*backendv1.WatchSessionResponse
	stop := errors.New("stop")
	err := b.Sessions.Watch(t.Context(), backendtest.User, &backendv1.WatchSessionRequest{SessionId: id}, func(m *backendv1.WatchSessionResponse) error {
		list = append(list, m)
		if m.GetCaughtUp() != nil {
			return stop
		}
		return nil
	})
	require.ErrorIs(t, err, stop)
	return list
}

// listening waits until the backend has begun to listen n times.
func listening(t *testing.T, b *backendtest.Backend, n int) {
	t.Helper()
	for {
		count, changed := b.Bus.Connects()
		if count >= n {
			return
		}
		select {
		case <-changed:
		case <-t.Context().Done():
			t.Fatal("the backend does not listen")
		}
	}
}

func TestWatchAcrossListenReconnect(t *testing.T) {
	url := dbtest.URL(t, testkit.Postgres(t))
	writer, reader := backendtest.On(t, url), backendtest.On(t, url)
	listening(t, writer, 1)
	listening(t, reader, 1)
	c := writer.Start(t, "w1")
	w := follow(t, reader, c.GetRun().GetSessionId(), 0, false)
	w.until(caughtUp)

	_, err := writer.Pool.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database()`, hint.ListenerName)
	require.NoError(t, err)
	// Whatever is written while nobody listens is found after the reconnect.
	writer.Append(t, c, backendtest.Text(1, "one"))
	w.untilRunSeq(1)
	listening(t, reader, 2)
	writer.Append(t, c, backendtest.Text(2, "two"))
	w.untilRunSeq(2)
}

func TestWatchAcrossPostgresRestart(t *testing.T) {
	server, opts := testkit.OwnPostgres(t)
	b := backendtest.On(t, dbtest.URL(t, server.URL()))
	c := b.Start(t, "w1")
	w := follow(t, b, c.GetRun().GetSessionId(), 0, false)
	w.until(caughtUp)
	b.Append(t, c, backendtest.Text(1, "one"))
	w.untilRunSeq(1)

	require.NoError(t, server.Stop(context.Background()))
	_, err := b.Queue.Append(t.Context(), c.GetRun().GetId(), c.GetFencingToken(), 0, []*executorv1.RunEvent{backendtest.Text(2, "two")}, nil)
	require.Error(t, err)
	again, err := embedded.StartPostgres(context.Background(), opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, again.Stop(context.Background())) })

	listening(t, b, 2)
	b.Append(t, c, backendtest.Text(2, "two"), backendtest.Finished(3, completed))
	w.untilRunSeq(3)
}

// A watcher that does not read holds up nobody, and misses nothing.
func TestSlowWatcher(t *testing.T) {
	b := backendtest.New(t)
	c := b.Start(t, "w1")
	id := c.GetRun().GetSessionId()
	blocked, resume := make(chan struct{}), make(chan struct{})
	var got []int64
	done := make(chan error, 1)
	stop := errors.New("stop")
	const batches, perBatch = 30, 100 // more than a session's buffer
	go func() {
		first := true
		done <- b.Sessions.Watch(context.Background(), backendtest.User, &backendv1.WatchSessionRequest{SessionId: id}, func(m *backendv1.WatchSessionResponse) error {
			if e := m.GetEvent(); e.GetRunSeq() > 0 {
				got = append(got, e.GetRunSeq())
			}
			if first && m.GetCaughtUp() != nil {
				first = false
				close(blocked)
				<-resume
			}
			if len(got) == batches*perBatch {
				return stop
			}
			return nil
		})
	}()
	<-blocked
	fast := follow(t, b, id, 0, false)
	fast.until(caughtUp)
	seq := int64(0)
	for range batches {
		var events []*executorv1.RunEvent
		for range perBatch {
			seq++
			events = append(events, backendtest.Text(seq, fmt.Sprint("event ", seq)))
		}
		b.Append(t, c, events...)
	}
	fast.untilRunSeq(batches * perBatch)
	close(resume)
	require.ErrorIs(t, <-done, stop)
	for i, s := range got {
		require.Equal(t, int64(i+1), s)
	}
}

func TestWatchSessions(t *testing.T) {
	b := backendtest.New(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	changes := make(chan *backendv1.WatchSessionsResponse, 1000)
	done := make(chan error, 1)
	go func() {
		done <- b.Sessions.WatchList(ctx, backendtest.User, &backendv1.WatchSessionsRequest{View: backendv1.SessionView_SESSION_VIEW_FULL}, func(m *backendv1.WatchSessionsResponse) error {
			changes <- m
			return nil
		})
	}()
	e := b.Enqueue(t, "", "hello")
	var s *backendv1.Session
	for s.GetId() != e.GetSessionId() {
		select {
		case m := <-changes:
			s = m.GetSession()
		case <-t.Context().Done():
			t.Fatal("no change")
		}
		if s == nil { // the watch began after the hint
			_, err := b.Sessions.UpdateSession(t.Context(), &backendv1.UpdateSessionRequest{SessionId: e.GetSessionId(), Title: new("again")})
			require.NoError(t, err)
		}
	}
	require.NotNil(t, s.GetConfig())
	b.Delete(t, e.GetSessionId())
	for (<-changes).GetDeletedSessionId() != e.GetSessionId() {
	}
	cancel(errors.New("over"))
	require.EqualError(t, <-done, "over")
}

func TestCommandsAreRedeliveredUntilAcknowledged(t *testing.T) {
	b := backendtest.New(t)
	c := b.Start(t, "w1")
	stop := errors.New("stop")
	receive := func() *queuev1.RunCommand {
		var got *queuev1.RunCommand
		err := b.Queue.WatchCommands(t.Context(), "w1", func(m *queuev1.WatchRunCommandsResponse) error {
			if got = m.GetCommand(); got == nil {
				return nil // a heartbeat
			}
			return stop
		})
		require.ErrorIs(t, err, stop)
		return got
	}
	b.Cancel(t, c.GetRun().GetId(), "stop it")
	first, second := receive(), receive()
	require.Equal(t, first.GetId(), second.GetId())
	require.NoError(t, b.Queue.AckCommand(t.Context(), "w1", first.GetId()))
	require.NoError(t, b.Queue.AckCommand(t.Context(), "w1", first.GetId()))
	commands := b.Commands(t, "w1")
	require.Empty(t, commands)
}

func TestDeleteEndsTheWatch(t *testing.T) {
	b := backendtest.New(t)
	e := b.Enqueue(t, "", "hello")
	w := follow(t, b, e.GetSessionId(), 0, false)
	w.until(caughtUp)
	b.Delete(t, e.GetSessionId())
	for {
		select {
		case <-w.c: // the end of the session's run, if that is found first
		case err := <-w.done:
			require.Equal(t, backendv1.ErrorReason_ERROR_REASON_NOT_FOUND, rpcerror.Reason(err))
			return
		}
	}
}
