package conversation_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	test "github.com/poco-ai/poco/services/poco/internal/backendtest"
	"github.com/poco-ai/poco/services/poco/internal/client"
	"github.com/poco-ai/poco/services/poco/internal/conversation"
)

func TestMain(m *testing.M) {
	// The client keeps idle connections for the life of the program.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

const (
	running   = backendv1.RunStatus_RUN_STATUS_RUNNING
	completed = backendv1.RunStatus_RUN_STATUS_COMPLETED
	failed    = backendv1.RunStatus_RUN_STATUS_FAILED
	canceled  = backendv1.RunStatus_RUN_STATUS_CANCELED
)

// view records what is shown.
type view struct {
	mu    sync.Mutex
	seqs  []int64
	notes strings.Builder
	// noted is told about each note.
	noted chan string
}

func (v *view) Event(event *backendv1.SessionEvent) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.seqs = append(v.seqs, event.GetSeq())
	return nil
}

func (v *view) Partial(*backendv1.PartialContent) error { return nil }

func (v *view) Note(format string, args ...any) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	note := fmt.Sprintf(format, args...)
	v.notes.WriteString(note + "\n")
	if v.noted != nil {
		v.noted <- note
	}
	return nil
}

func (v *view) Warn(format string, args ...any) error { return v.Note(format, args...) }

func follow(t *testing.T, backend *test.Backend, change func(*conversation.Follower)) (conversation.Outcome, *view, error) {
	t.Helper()
	shown := &view{}
	follower := &conversation.Follower{
		Backend: client.New(backend.URL, client.Access{}), View: shown, RunID: test.RunID,
		Watch: client.Watch{SessionID: test.SessionID}, Out: &bytes.Buffer{},
	}
	if change != nil {
		change(follower)
	}
	outcome, err := follower.Run(t.Context())
	return outcome, shown, err
}

func TestOutcomeIsTheRuns(t *testing.T) {
	for status, want := range map[backendv1.RunStatus]conversation.Outcome{
		completed: conversation.Completed, failed: conversation.Failed, canceled: conversation.Canceled,
	} {
		outcome, shown, err := follow(t, test.New(t, test.Connection{Messages: []*backendv1.WatchSessionResponse{
			test.EventOf(test.OtherRunID, 1, test.Status(failed)), // another run of the session
			test.Event(2, test.Status(running)), test.CaughtUp(), test.Event(3, test.Text("hi")), test.Event(4, test.Status(status)),
		}, Until: t.Context().Done()}), nil)
		require.NoError(t, err)
		require.Equal(t, want, outcome)
		require.Equal(t, []int64{2, 3, 4}, shown.seqs)
	}
}

func TestWatchGoesOnFromTheLastEventAfterALoss(t *testing.T) {
	lost := connect.NewError(connect.CodeUnavailable, "the server is shutting down")
	backend := test.New(t,
		test.Connection{Messages: []*backendv1.WatchSessionResponse{test.Event(1, test.Status(running)), test.Event(2, test.Text("a"))}, Err: lost},
		test.Connection{Err: lost},
		test.Connection{Messages: []*backendv1.WatchSessionResponse{test.Event(3, test.Status(completed))}},
	)
	outcome, shown, err := follow(t, backend, nil)
	require.NoError(t, err)
	require.Equal(t, conversation.Completed, outcome)
	require.Equal(t, []int64{1, 2, 3}, shown.seqs)
	require.Equal(t, []int64{0, 2, 2}, backend.Cursors())
	require.Equal(t, 1, strings.Count(shown.notes.String(), "connection lost"), "told once")
}

func TestRefusalIsNotTriedAgain(t *testing.T) {
	backend := test.New(t, test.Connection{Err: connect.NewError(connect.CodeNotFound, "session not found")})
	_, _, err := follow(t, backend, nil)
	require.ErrorContains(t, err, "session not found")
	require.Len(t, backend.Cursors(), 1)
}

func TestQuestionIsAskedAndAnswered(t *testing.T) {
	answered := make(chan struct{})
	backend := test.New(t,
		test.Connection{Messages: []*backendv1.WatchSessionResponse{test.CaughtUp(), test.Event(1, test.Asked())}, Until: answered,
			Err: connect.NewError(connect.CodeUnavailable, "again")},
		test.Connection{Messages: []*backendv1.WatchSessionResponse{
			test.Event(2, test.Resolved(backendv1.UserInputStatus_USER_INPUT_STATUS_ANSWERED)), test.Event(3, test.Status(completed)),
		}},
	)
	lines := make(chan string, 2)
	lines <- "5" // no such option
	lines <- "2"
	go func() {
		request := <-backend.Answered
		backend.Answered <- request
		close(answered)
	}()
	out := &bytes.Buffer{}
	outcome, _, err := follow(t, backend, func(f *conversation.Follower) {
		f.Lines, f.Out = func() <-chan string { return lines }, out
	})
	require.NoError(t, err)
	require.Equal(t, conversation.Completed, outcome)
	request := <-backend.Answered
	require.Equal(t, test.RequestID, request.GetUserInputRequestId())
	require.Equal(t, []string{"Blue"}, request.GetAnswers()[0].GetSelected())
	require.Contains(t, out.String(), "choose 1 to 2")
}

func TestOldQuestionIsNotAskedAgain(t *testing.T) {
	backend := test.New(t, test.Connection{Messages: []*backendv1.WatchSessionResponse{
		test.Event(1, test.Asked()), test.Event(2, test.Resolved(backendv1.UserInputStatus_USER_INPUT_STATUS_EXPIRED)),
		test.CaughtUp(), test.Event(3, test.Status(completed)),
	}})
	_, _, err := follow(t, backend, func(f *conversation.Follower) {
		f.Lines = func() <-chan string {
			t.Error("asked")
			return nil
		}
	})
	require.NoError(t, err)
}

func TestFirstOptionIsTakenWhenNobodyAnswers(t *testing.T) {
	answered := make(chan struct{})
	backend := test.New(t,
		test.Connection{Messages: []*backendv1.WatchSessionResponse{test.CaughtUp(), test.Event(1, test.Asked())}, Until: answered,
			Err: connect.NewError(connect.CodeUnavailable, "again")},
		test.Connection{Messages: []*backendv1.WatchSessionResponse{test.Event(2, test.Status(completed))}},
	)
	got := make(chan *backendv1.AnswerUserInputRequestRequest, 1)
	go func() {
		got <- <-backend.Answered
		close(answered)
	}()
	_, shown, err := follow(t, backend, func(f *conversation.Follower) { f.FirstOptionAfter = time.Millisecond })
	require.NoError(t, err)
	require.Equal(t, []string{"Red"}, (<-got).GetAnswers()[0].GetSelected())
	require.Contains(t, shown.notes.String(), "first option")
}

func TestFirstInterruptCancelsSecondLeaves(t *testing.T) {
	backend := test.New(t, test.Connection{Messages: []*backendv1.WatchSessionResponse{test.Event(1, test.Status(running))}, Until: t.Context().Done()})
	interrupts := make(chan os.Signal, 2)
	interrupts <- os.Interrupt
	go func() {
		backend.Canceled <- <-backend.Canceled
		interrupts <- os.Interrupt
	}()
	outcome, shown, err := follow(t, backend, func(f *conversation.Follower) { f.Signals, f.CancelOnInterrupt = interrupts, true })
	require.NoError(t, err)
	require.Equal(t, conversation.Detached, outcome)
	require.Equal(t, test.RunID, <-backend.Canceled)
	require.Contains(t, shown.notes.String(), "poco attach "+test.SessionID)
}

// What ends this program says nothing about the run: a CI job's timeout, a
// closed terminal.
func TestOtherSignalsLeaveTheRun(t *testing.T) {
	for _, signal := range []os.Signal{syscall.SIGTERM, syscall.SIGHUP} {
		backend := test.New(t, test.Connection{Messages: []*backendv1.WatchSessionResponse{test.Event(1, test.Status(running))}, Until: t.Context().Done()})
		signals := make(chan os.Signal, 1)
		signals <- signal
		outcome, shown, err := follow(t, backend, func(f *conversation.Follower) { f.Signals, f.CancelOnInterrupt = signals, true })
		require.NoError(t, err)
		require.Equal(t, conversation.Detached, outcome)
		require.Contains(t, shown.notes.String(), "the run goes on; come back with: poco attach "+test.SessionID)
		require.Empty(t, backend.Canceled)
	}
}

// A backend that takes its time over a cancel does not keep who wants to leave.
func TestSecondInterruptDoesNotWaitForTheCancel(t *testing.T) {
	backend := test.New(t, test.Connection{Until: t.Context().Done()})
	backend.Canceled = make(chan string) // nobody takes it: the call hangs
	signals := make(chan os.Signal, 2)
	signals <- os.Interrupt
	signals <- os.Interrupt
	outcome, shown, err := follow(t, backend, func(f *conversation.Follower) { f.Signals, f.CancelOnInterrupt = signals, true })
	require.NoError(t, err)
	require.Equal(t, conversation.Detached, outcome)
	require.Contains(t, shown.notes.String(), "left before the backend confirmed the cancel")
}

// goneView cannot show anything.
type goneView struct{ view }

func (*goneView) Event(*backendv1.SessionEvent) error { return syscall.EPIPE }

func TestOutputThatIsGoneLeavesTheRun(t *testing.T) {
	backend := test.New(t, test.Connection{Messages: []*backendv1.WatchSessionResponse{test.Event(1, test.Status(running))}, Until: t.Context().Done()})
	_, _, err := follow(t, backend, func(f *conversation.Follower) { f.View, f.CancelOnInterrupt = &goneView{}, true })
	require.ErrorIs(t, err, conversation.ErrOutput)
	require.Empty(t, backend.Canceled)
}

func TestInterruptLeavesAnAttachedSessionAlone(t *testing.T) {
	backend := test.New(t, test.Connection{Until: t.Context().Done()})
	interrupts := make(chan os.Signal, 1)
	interrupts <- os.Interrupt
	outcome, shown, err := follow(t, backend, func(f *conversation.Follower) { f.RunID, f.Signals = "", interrupts })
	require.NoError(t, err)
	require.Equal(t, conversation.Detached, outcome)
	require.Contains(t, shown.notes.String(), "the session goes on; come back with: poco attach "+test.SessionID)
	require.Empty(t, backend.Canceled)
}
