package e2e

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

// awaitTimeout bounds the wait for one event; generous, because it is only
// reached by a failing test.
const awaitTimeout = 90 * time.Second

// follower collects a session's events as a watcher that reconnects from its
// cursor, and checks that none is missing or doubled.
type follower struct {
	t        testing.TB
	sessions backendv1.SessionServiceClient
	id       string

	mu       sync.Mutex
	events   []*backendv1.SessionEvent
	partials []*backendv1.PartialContent
	changed  chan struct{}
	failed   error
}

func (s *stack) follow(sessionID string) *follower {
	f := &follower{t: s.t, sessions: s.sessions, id: sessionID, changed: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.watch(ctx)
	}()
	s.t.Cleanup(func() {
		cancel()
		<-done
		assert.NoError(s.t, f.failed) // the other clean-ups have to come, too
	})
	return f
}

func (f *follower) watch(ctx context.Context) {
	for ctx.Err() == nil {
		stream, err := f.sessions.WatchSession(ctx, &backendv1.WatchSessionRequest{SessionId: f.id, AfterSeq: f.last()}, grpc.WaitForReady(true))
		for err == nil {
			var message *backendv1.WatchSessionResponse
			if message, err = stream.Recv(); err == nil {
				err = f.take(message)
			}
		}
		if c := status.Code(err); ctx.Err() == nil && c != codes.Unavailable && !errors.Is(err, io.EOF) {
			f.fail(err)
			return
		}
	}
}

func (f *follower) last() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return int64(len(f.events))
}

func (f *follower) take(message *backendv1.WatchSessionResponse) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := message.GetPartial(); p != nil {
		f.partials = append(f.partials, p)
	}
	event := message.GetEvent()
	if event == nil {
		return nil
	}
	if event.GetSeq() != int64(len(f.events))+1 {
		return errors.New("the watch skipped or repeated an event")
	}
	f.events = append(f.events, event)
	close(f.changed)
	f.changed = make(chan struct{})
	return nil
}

func (f *follower) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = err
	close(f.changed)
	f.changed = make(chan struct{})
}

// await returns the first event that matches, from the beginning.
func (f *follower) await(what string, match func(*backendv1.SessionEvent) bool) *backendv1.SessionEvent {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(f.t.Context()), awaitTimeout)
	defer cancel()
	event, err := f.find(ctx, match)
	if err != nil {
		for _, e := range f.all() {
			f.t.Logf("%d %s/%d %v", e.GetSeq(), e.GetRunId(), e.GetRunSeq(), e.GetPayload())
		}
		require.FailNow(f.t, "no event", "waited for %s: %v", what, err)
	}
	return event
}

// find waits for the first event that matches, from the beginning, until ctx
// ends or the watch fails.
func (f *follower) find(ctx context.Context, match func(*backendv1.SessionEvent) bool) (*backendv1.SessionEvent, error) {
	for next := 0; ; {
		f.mu.Lock()
		events, changed, failed := f.events, f.changed, f.failed
		f.mu.Unlock()
		for ; next < len(events); next++ {
			if match(events[next]) {
				return events[next], nil
			}
		}
		if failed != nil {
			return nil, failed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// all returns the events so far.
func (f *follower) all() []*backendv1.SessionEvent {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.events
}

// awaitEnd returns the final state of a run.
func (f *follower) awaitEnd(runID string) *backendv1.RunStatusChanged {
	f.t.Helper()
	return f.await("the end of the run", isEndOf(runID)).GetPayload().GetRunStatusChanged()
}

// isEndOf matches the event with a run's final state.
func isEndOf(runID string) func(*backendv1.SessionEvent) bool {
	return func(e *backendv1.SessionEvent) bool {
		switch e.GetPayload().GetRunStatusChanged().GetStatus() {
		case backendv1.RunStatus_RUN_STATUS_COMPLETED, backendv1.RunStatus_RUN_STATUS_FAILED, backendv1.RunStatus_RUN_STATUS_CANCELED:
			return e.GetRunId() == runID
		default:
			return false
		}
	}
}

// awaitStatus waits until a run has a status.
func (f *follower) awaitStatus(run string, status backendv1.RunStatus) {
	f.t.Helper()
	f.await("the status "+status.String(), func(e *backendv1.SessionEvent) bool {
		return e.GetRunId() == run && e.GetPayload().GetRunStatusChanged().GetStatus() == status
	})
}

// awaitExport returns how the export after a sequence number ended.
func (f *follower) awaitExport(afterSeq int64) *backendv1.ExportChanged {
	f.t.Helper()
	return f.await("the end of the export", isExportEnd(afterSeq)).GetPayload().GetExportChanged()
}

// isExportEnd matches the end of the export after a sequence number.
func isExportEnd(afterSeq int64) func(*backendv1.SessionEvent) bool {
	return func(e *backendv1.SessionEvent) bool {
		s := e.GetPayload().GetExportChanged().GetStatus()
		return e.GetSeq() > afterSeq && (s == backendv1.ExportStatus_EXPORT_STATUS_READY || s == backendv1.ExportStatus_EXPORT_STATUS_FAILED)
	}
}

// awaitTool returns the first call of a tool.
func (f *follower) awaitTool(name string) *backendv1.ToolUseBlock {
	f.t.Helper()
	var found *backendv1.ToolUseBlock
	f.await("a call of "+name, func(e *backendv1.SessionEvent) bool {
		for _, block := range e.GetPayload().GetMessageAdded().GetBlocks() {
			if use := block.GetToolUse(); use.GetName() == name {
				found = use
				return true
			}
		}
		return false
	})
	return found
}

// awaitText waits for an assistant text that contains a part.
func (f *follower) awaitText(part string) {
	f.t.Helper()
	f.await("the text "+part, func(e *backendv1.SessionEvent) bool {
		m := e.GetPayload().GetMessageAdded()
		return m.GetRole() == backendv1.MessageRole_MESSAGE_ROLE_ASSISTANT && containsText(m.GetBlocks(), part)
	})
}

// requireExactlyOnce checks that each run's numbers are contiguous from 1.
func (f *follower) requireExactlyOnce() {
	f.t.Helper()
	next := map[string]int64{}
	for _, e := range f.all() {
		if e.GetRunSeq() == 0 {
			continue
		}
		next[e.GetRunId()]++
		require.Equal(f.t, next[e.GetRunId()], e.GetRunSeq(), "run_seq of run %s", e.GetRunId())
	}
}

// containsText tells whether a text block contains a part.
func containsText(blocks []*backendv1.ContentBlock, part string) bool {
	for _, block := range blocks {
		if strings.Contains(block.GetText().GetText(), part) {
			return true
		}
	}
	return false
}
