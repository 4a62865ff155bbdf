// Package conversation follows a session at a terminal: it shows events, asks
// the agent's questions and handles interrupts.
package conversation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/poco/internal/client"
	"github.com/poco-ai/poco/services/poco/internal/terminal"
)

// Outcome is how following a session ended.
type Outcome int

// Outcomes.
const (
	// Idle: nothing more to follow.
	Idle Outcome = iota
	Completed
	Failed
	Canceled
	// Detached: who followed left; the run goes on.
	Detached
)

// exportWait bounds how long the end of the export is waited for.
const exportWait = time.Minute

// callTimeout bounds one unary call.
const callTimeout = 30 * time.Second

// View shows what happens; terminal.Renderer is one.
type View interface {
	Event(event *backendv1.SessionEvent) error
	Partial(partial *backendv1.PartialContent) error
	Note(format string, args ...any) error
	Warn(format string, args ...any) error
}

// Follower follows one session.
type Follower struct {
	Backend *client.Backend
	View    View
	Watch   client.Watch
	// RunID is the run to follow to its end; empty follows the session.
	RunID string
	// WaitForExport waits, for a minute at most, until the workspace of a
	// completed run is exported.
	WaitForExport bool
	// CancelOnInterrupt makes the first Ctrl-C cancel the run; the second one, or
	// the first without it, leaves.
	CancelOnInterrupt bool
	// Signals brings Ctrl-C, and signals that end this program, a terminal's end
	// or the timeout of a CI job: those say nothing about the run and leave it.
	// nil brings none.
	Signals <-chan os.Signal
	// Lines brings what is typed. Nil: questions are not asked here.
	Lines func() <-chan string
	// FirstOptionAfter answers a question with its first options when nobody has
	// answered for so long; 0 waits for a person. For demonstrations.
	FirstOptionAfter time.Duration
	// Out and Color are for the questions.
	Out   io.Writer
	Color bool

	questions questions
	live      bool
	finished  bool
	outcome   Outcome
	canceling bool
	confirmed bool
	// refused brings the answer to a cancel; confirmed that it was a yes.
	refused  chan error
	patience *time.Timer
}

// ErrOutput means that what happens can no longer be shown: the terminal or the
// reader of a pipe is gone, a disk is full. The run goes on.
var ErrOutput = errors.New("write the output")

// errEnded ends the watch when all that was to be followed has happened.
var errEnded = errors.New("followed to the end")

// Run follows until the run's end, the session's idleness, a signal or an
// error; the error is the backend's refusal, client.ErrConnectionLost, or
// ErrOutput.
func (f *Follower) Run(ctx context.Context) (Outcome, error) {
	ctx, cancel := context.WithCancel(ctx)
	messages := make(chan *backendv1.WatchSessionResponse)
	lost := make(chan error)
	ended := make(chan error, 1)
	f.refused = make(chan error, 1)
	f.Watch.Lost = func(err error) {
		select {
		case lost <- err:
		case <-ctx.Done():
		}
	}
	var watching sync.WaitGroup
	watching.Go(func() {
		ended <- f.Backend.Follow(ctx, &f.Watch, func(message *backendv1.WatchSessionResponse) error {
			select {
			case messages <- message:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	var calls sync.WaitGroup
	defer calls.Wait()
	defer watching.Wait()
	defer cancel()
	var lines <-chan string
	var tooLong <-chan time.Time
	f.patience = time.NewTimer(time.Hour)
	f.patience.Stop()
	defer f.patience.Stop()
	for {
		if f.questions.open() && lines == nil && f.Lines != nil {
			lines = f.Lines()
		}
		var err error
		select {
		case message := <-messages:
			err = f.message(ctx, message)
			if f.finished && tooLong == nil {
				timer := time.NewTimer(exportWait)
				defer timer.Stop()
				tooLong = timer.C
			}
		case cause := <-lost:
			err = f.View.Warn("connection lost (%s), trying again…", client.Message(cause))
		case line, ok := <-lines:
			if !ok {
				f.Lines, lines = nil, nil
				err = f.View.Warn("no more input; answer with: poco answer")
				break
			}
			err = f.typed(ctx, line)
		case <-f.patience.C:
			err = f.answerFirst(ctx)
		case signal := <-f.Signals:
			err = f.signal(signal, func() {
				calls.Go(func() { f.refused <- f.cancelRun(ctx) })
			})
		case refusal := <-f.refused:
			f.confirmed = refusal == nil
			if refusal != nil {
				f.canceling = false
				err = f.View.Warn("not canceled: %s", client.Message(refusal))
			}
		case <-tooLong:
			err = errors.Join(f.View.Warn("the workspace is still being exported"), errEnded)
		case err = <-ended:
			if err == nil {
				return f.outcome, nil
			}
		}
		switch {
		case errors.Is(err, errEnded):
			return f.outcome, nil
		case err != nil:
			return f.outcome, err
		}
	}
}

func (f *Follower) message(ctx context.Context, message *backendv1.WatchSessionResponse) error {
	switch kind := message.GetKind().(type) {
	case *backendv1.WatchSessionResponse_Event:
		return f.event(kind.Event)
	case *backendv1.WatchSessionResponse_Partial:
		if f.RunID != "" && kind.Partial.GetRunId() != f.RunID {
			return nil
		}
		if err := f.View.Partial(kind.Partial); err != nil {
			return fmt.Errorf("%w: %w", ErrOutput, err)
		}
	case *backendv1.WatchSessionResponse_CaughtUp:
		f.live = true
		f.ask()
	}
	return ctx.Err()
}

func (f *Follower) event(event *backendv1.SessionEvent) error {
	if f.RunID != "" && event.GetRunId() != f.RunID {
		return nil
	}
	if err := f.View.Event(event); err != nil {
		return fmt.Errorf("%w: %w", ErrOutput, err)
	}
	f.questions.repeat(event.GetPayload())
	switch kind := event.GetPayload().GetKind().(type) {
	case *backendv1.EventPayload_UserInputRequested:
		f.questions.add(kind.UserInputRequested)
		f.ask()
	case *backendv1.EventPayload_UserInputResolved:
		f.questions.remove(kind.UserInputResolved.GetUserInputRequestId())
		f.ask()
	case *backendv1.EventPayload_RunStatusChanged:
		return f.status(kind.RunStatusChanged.GetStatus())
	case *backendv1.EventPayload_ExportChanged:
		status := kind.ExportChanged.GetStatus()
		if f.finished && (status == backendv1.ExportStatus_EXPORT_STATUS_READY || status == backendv1.ExportStatus_EXPORT_STATUS_FAILED) {
			return errEnded
		}
	}
	return nil
}

func (f *Follower) status(status backendv1.RunStatus) error {
	switch status {
	case backendv1.RunStatus_RUN_STATUS_COMPLETED:
		f.outcome = Completed
	case backendv1.RunStatus_RUN_STATUS_FAILED:
		f.outcome = Failed
	case backendv1.RunStatus_RUN_STATUS_CANCELED:
		f.outcome = Canceled
	default:
		return nil
	}
	f.questions.clear()
	if f.RunID == "" {
		return nil
	}
	if f.WaitForExport && f.outcome == Completed {
		f.finished = true
		return nil
	}
	return errEnded
}

// signal cancels the run at the first Ctrl-C, and leaves otherwise.
func (f *Follower) signal(signal os.Signal, cancelRun func()) error {
	if signal == os.Interrupt && f.CancelOnInterrupt && !f.canceling && !f.finished {
		f.canceling = true
		cancelRun() // while others are still listened to, a second Ctrl-C above all
		return f.View.Warn("canceling the run; Ctrl-C again leaves at once")
	}
	f.outcome = Detached
	what := "left, the run goes on"
	switch {
	case f.RunID == "":
		what = "left, the session goes on"
	case f.finished:
		what = "left, the export goes on"
	case f.confirmed:
		what = "left, the run is being canceled"
	case f.canceling:
		what = "left before the backend confirmed the cancel"
	}
	// Where it cannot be said, the terminal is gone: left all the same.
	return errors.Join(f.View.Warn("%s; come back with: poco attach %s", what, f.Watch.SessionID), errEnded)
}

func (f *Follower) cancelRun(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := f.Backend.Runs.CancelRun(ctx, &backendv1.CancelRunRequest{RunId: f.RunID, Reason: "interrupted at the terminal"})
	return err
}

// ask starts with the oldest open question, once history is through.
func (f *Follower) ask() {
	if !f.live || f.questions.open() || len(f.questions.waiting) == 0 {
		return
	}
	if f.FirstOptionAfter > 0 {
		f.patience.Reset(f.FirstOptionAfter)
	}
	if f.Lines != nil {
		f.questions.ask(func(request *backendv1.UserInputRequested) *terminal.Asker {
			_ = f.View.Note("") // a failed output shows with the next event
			return terminal.NewAsker(f.Out, f.Color, request.GetQuestions())
		})
	}
}

func (f *Follower) typed(ctx context.Context, line string) error {
	if id, answers := f.questions.answer(line); answers != nil {
		return f.answer(ctx, id, answers)
	}
	return nil
}

// answerFirst answers the oldest open question with its first options.
func (f *Follower) answerFirst(ctx context.Context) error {
	if len(f.questions.waiting) == 0 {
		return nil
	}
	request := f.questions.waiting[0]
	var answers []*backendv1.UserAnswer
	for _, question := range request.GetQuestions() {
		answer := &backendv1.UserAnswer{QuestionId: question.GetId()}
		if options := question.GetOptions(); len(options) > 0 {
			answer.Selected = []string{options[0].GetLabel()}
		} else {
			answer.OtherText = "yes"
		}
		answers = append(answers, answer)
	}
	if err := f.View.Note("nobody is answering: taking the first option"); err != nil {
		return err
	}
	return f.answer(ctx, request.GetUserInputRequestId(), answers)
}

func (f *Follower) answer(ctx context.Context, id string, answers []*backendv1.UserAnswer) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := f.Backend.Inputs.AnswerUserInputRequest(ctx, &backendv1.AnswerUserInputRequestRequest{UserInputRequestId: id, Answers: answers})
	if err != nil {
		return f.View.Warn("not answered: %s", client.Message(err))
	}
	return nil
}
