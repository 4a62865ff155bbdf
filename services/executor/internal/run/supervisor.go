package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/executor/internal/agent"
	"github.com/poco-ai/poco/services/executor/internal/channelclient"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/logging"
)

const (
	// AbandonedAfter is when an executor that has nothing to do ends by
	// itself, counted from the last sign of a manager. A manager that was only
	// restarted is back long before; one that is gone for good cannot clean up.
	AbandonedAfter = 10 * time.Minute
	// KeptFor is the same for an executor that is kept for the session's next
	// run, whose time nobody knows.
	KeptFor = 24 * time.Hour

	// farewellTimeout is how long a stopping executor tries to deliver.
	farewellTimeout = 5 * time.Second
)

// Errors of a Supervisor.
var (
	// ErrBusy is returned by Start while another run is under way.
	ErrBusy = errors.New("another run is under way")
	// ErrUnknownRun is returned for a run that the executor does not have.
	ErrUnknownRun = errors.New("the executor does not have this run")
	// ErrStopping is returned by Start once the executor stops.
	ErrStopping = errors.New("the executor is stopping")
)

// Conn is a connection to a manager.
type Conn interface {
	grpc.ClientConnInterface
	io.Closer
}

// Settings are what all runs of an executor have in common.
type Settings struct {
	WorkspacePath string
	// StatePath is the folder beside the workspace for what must survive.
	StatePath string
	GitIgnore []string
	Agents    agent.Drivers
	// ModelBaseURL, ModelToken and DefaultModel are used by runs that bring
	// none.
	ModelBaseURL string
	ModelToken   config.Secret
	DefaultModel string
	// Dial connects to a manager. It does not wait for it.
	Dial   func(url string, token config.Secret) (Conn, error)
	Logger *slog.Logger

	// contact is called on each sign of a manager.
	contact func()
}

// Supervisor has the executor's runs, one at a time.
type Supervisor struct {
	settings  Settings
	abandoned chan struct{}
	watch     *time.Timer

	mu          sync.Mutex
	current     *activeRun
	stopping    bool
	lastContact time.Time
	wg          sync.WaitGroup
}

// New returns a supervisor without a run. Close it.
func New(settings Settings) *Supervisor {
	s := &Supervisor{settings: settings, abandoned: make(chan struct{}), lastContact: time.Now()}
	s.settings.contact = s.contact
	s.watch = time.AfterFunc(AbandonedAfter, s.checkAbandoned)
	return s
}

// Abandoned is closed when the executor has nothing to do and no manager was
// heard of for long: it should end.
func (s *Supervisor) Abandoned() <-chan struct{} { return s.abandoned }

func (s *Supervisor) contact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastContact = time.Now()
}

func (s *Supervisor) checkAbandoned() {
	s.mu.Lock()
	defer s.mu.Unlock()
	limit, working := AbandonedAfter, false
	if s.current != nil {
		select {
		case <-s.current.worked:
		default:
			working = true
		}
		if s.current.request.GetConfig().GetContainerMode() == backendv1.ContainerMode_CONTAINER_MODE_PERSISTENT && isClosed(s.current.delivered) {
			limit = KeptFor
		}
	}
	left := limit - time.Since(s.lastContact)
	if working {
		left = max(left, AbandonedAfter)
	}
	if s.stopping {
		return
	}
	if left > 0 {
		s.watch.Reset(left)
		return
	}
	close(s.abandoned)
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Start begins an attempt of a run in the background. For the one that it
// already has, it only renews the lease.
func (s *Supervisor) Start(request *executorv1.StartRunRequest) error {
	s.contact()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return ErrStopping
	}
	if s.current != nil && s.current.id == request.GetRunId() && s.current.request.GetAttempt() == request.GetAttempt() {
		s.current.lease.renew(request.GetLeaseTtl().AsDuration())
		return nil
	}
	if s.current != nil && !isClosed(s.current.delivered) {
		return ErrBusy
	}
	conn, err := s.settings.Dial(request.GetChannelUrl(), config.NewSecret(request.GetChannelToken()))
	if err != nil {
		return err
	}
	r := newRun(request, &s.settings)
	r.keepJournal()
	s.current = r
	client := channelclient.New(channelclient.Options{RunID: r.id, Conn: conn, Outbox: r.outbox, Run: r, Logger: r.logger})
	s.wg.Go(r.execute)
	ctx, cancel := context.WithCancel(logging.WithRun(context.Background(), request.GetRunId(), request.GetSessionId()))
	r.hangUp = cancel
	s.wg.Go(func() {
		defer close(r.delivered)
		defer cancel()
		client.Serve(ctx)
		<-r.worked
		r.outbox.LetGo()
		if err := conn.Close(); err != nil {
			r.logger.Debug("closing the channel's connection", logging.KeyError, err)
		}
	})
	r.logger.Info("run started", "attempt", request.GetAttempt(), "resumes", request.GetAgentSessionId() != "", "next_run_seq", request.GetNextRunSeq())
	return nil
}

// Cancel ends a run as canceled. It returns before that has happened.
func (s *Supervisor) Cancel(runID, reason string) error {
	s.contact()
	s.mu.Lock()
	r := s.current
	s.mu.Unlock()
	if r == nil || r.id != runID {
		return ErrUnknownRun
	}
	r.end(agent.Canceled(reason))
	return nil
}

// Status tells what the executor is doing.
func (s *Supervisor) Status() *executorv1.GetStatusResponse {
	s.contact()
	s.mu.Lock()
	r := s.current
	s.mu.Unlock()
	if r == nil {
		return &executorv1.GetStatusResponse{Idle: true}
	}
	last, acked := r.outbox.Position()
	return &executorv1.GetStatusResponse{
		RunId: r.id, Attempt: r.request.GetAttempt(), LastRunSeq: last, AckedRunSeq: acked, Idle: isClosed(r.delivered),
	}
}

// Close stops the agent, if one is at work, gives the end of its run a little
// time to be delivered, and waits for everything.
func (s *Supervisor) Close(ctx context.Context) error {
	s.mu.Lock()
	s.stopping = true
	s.watch.Stop()
	r := s.current
	s.mu.Unlock()
	if r != nil {
		r.cancel(&agent.StopError{Outcome: agent.Failed(backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, "The executor was stopped.")})
		farewell, cancel := context.WithTimeout(ctx, farewellTimeout)
		defer cancel()
		select {
		case <-r.delivered:
		case <-farewell.Done():
		}
		r.hangUp()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.wg.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the run has not ended: %w", context.Cause(ctx))
	}
}
