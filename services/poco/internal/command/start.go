package command

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/poco/internal/client"
)

// answerPatience bounds the wait for the backend's answer once this program is
// to end: what ends it may kill it soon.
const answerPatience = 5 * time.Second

// started is a prompt that the backend has taken.
type started struct {
	task *backendv1.EnqueueTaskResponse
	// afterSeq is the session's last event from before.
	afterSeq int64
}

// How far a prompt is on its way.
const (
	notSent int32 = iota
	sent
	withdrawn
)

// errWithdrawn means that the prompt was not sent because this program ends.
var errWithdrawn = errors.New("left before the prompt was sent: no run was started")

// start sends a prompt. A signal while it is on its way does not end the call,
// which the backend may be carrying out: it waits for the answer, so that it can
// be said whether there is a run, and comes again behind it. A second one leaves.
func (c *cli) start(ctx context.Context, backend *client.Backend, req *backendv1.EnqueueTaskRequest, signals chan os.Signal) (started, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var progress atomic.Int32
	var answer started
	answered := make(chan error, 1)
	go func() {
		var err error
		answer, err = send(ctx, backend, req, &progress)
		answered <- err
	}()
	var first os.Signal
	var tooLong <-chan time.Time
	for {
		select {
		case err := <-answered:
			if err != nil {
				return started{}, c.notStarted(backend, req, err)
			}
			if first != nil {
				select {
				case signals <- first:
				default: // others wait there already
				}
			}
			return answer, nil
		case received := <-signals:
			if progress.CompareAndSwap(notSent, withdrawn) {
				return started{}, &exitError{exitCanceled, errWithdrawn}
			}
			if first != nil {
				return started{}, c.unconfirmed(req, errors.New("left before the backend answered"))
			}
			first, tooLong = received, time.After(answerPatience)
			fmt.Fprintln(c.err, "waiting for the backend to say whether the run is started; once more leaves at once")
		case <-tooLong:
			return started{}, c.unconfirmed(req, fmt.Errorf("left without an answer of the backend within %s", answerPatience))
		}
	}
}

// send makes the calls, unless the prompt is withdrawn before the one that counts.
func send(ctx context.Context, backend *client.Backend, req *backendv1.EnqueueTaskRequest, progress *atomic.Int32) (s started, err error) {
	if req.GetSessionId() != "" {
		session, err := backend.Sessions.GetSession(ctx, &backendv1.GetSessionRequest{SessionId: req.GetSessionId()})
		if err != nil {
			return s, err
		}
		s.afterSeq = session.GetSession().GetLastSeq()
	}
	if !progress.CompareAndSwap(notSent, sent) {
		return s, errWithdrawn
	}
	s.task, err = backend.Tasks.EnqueueTask(ctx, req)
	return s, err
}

// notStarted says of a failed call whether there may be a run all the same.
func (c *cli) notStarted(backend *client.Backend, req *backendv1.EnqueueTaskRequest, err error) error {
	told := c.refused(backend, err)
	var dial *net.OpError
	if !client.IsUnavailable(err) || errors.As(err, &dial) && dial.Op == "dial" {
		return told
	}
	return c.unconfirmed(req, told)
}

// unconfirmed adds to an error what is to be done when nobody knows whether the
// backend has taken the prompt.
func (c *cli) unconfirmed(req *backendv1.EnqueueTaskRequest, err error) error {
	code := exitDetached
	var exit *exitError
	if errors.As(err, &exit) {
		code = exit.code
	}
	return &exitError{code, fmt.Errorf("%w\nThe run may have been started: poco ls shows it. To send the prompt again without starting it twice, add: --request-id %s",
		err, req.GetClientRequestId())}
}
