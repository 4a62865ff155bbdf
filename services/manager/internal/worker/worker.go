// Package worker takes runs from the queue and sees each of them through: its
// lease, its executor, its commands and its end.
package worker

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/manager/internal/export"
	"github.com/poco-ai/poco/services/manager/internal/identity"
	"github.com/poco-ai/poco/services/manager/internal/runchannel"
	"github.com/poco-ai/poco/services/manager/internal/runtime"
	"github.com/poco-ai/poco/services/manager/internal/workspace"
)

// ExecutorClient is what the worker asks an executor.
type ExecutorClient interface {
	StartRun(context.Context, *executorv1.StartRunRequest, ...grpc.CallOption) (*executorv1.StartRunResponse, error)
	GetStatus(context.Context, *executorv1.GetStatusRequest, ...grpc.CallOption) (*executorv1.GetStatusResponse, error)
}

// DialExecutor opens a connection to the executor at a base URL, showing its
// token with every call.
type DialExecutor func(addr, token string) (client ExecutorClient, close func() error, err error)

// Options describes a Worker.
type Options struct {
	Identity   *identity.Identity
	Queue      queuev1.RunQueueServiceClient
	Runtime    runtime.Runtime
	Channels   *runchannel.Registry
	Workspaces *workspace.Store
	Web        workspace.Web
	Exporter   *export.Exporter
	Dial       DialExecutor
	// Config of the queue, of runs and of the runtime.
	QueueConfig *configv1.QueueConfig
	RunConfig   *configv1.RunConfig
	StopGrace   time.Duration
	// Cleanup says how long unused workspaces stay on the disk.
	Cleanup *configv1.WorkspaceConfig
	// CallbackURL is this manager as executors reach it.
	CallbackURL string
	// Reached tells whether executors reach CallbackURL; nil asks nobody.
	Reached func(context.Context) error
	// Model is what the agent of a name is given for a model.
	Model func(agent string) Model
	// ExecutorEnv gives a new executor's own settings, without secrets.
	ExecutorEnv func() map[string]string
	// StopExecutors ends running runs when the worker stops. Otherwise their
	// executors go on and are adopted by the next start.
	StopExecutors bool
	// CancelGrace is how long an executor may take to end a canceled run before
	// it is stopped; 30 s when zero.
	CancelGrace time.Duration
	// EnginePatience is how long a container engine may be away while a run starts,
	// before the run fails for it; 0 means 10 seconds.
	EnginePatience time.Duration
	// Now is the monotonic clock that leases are judged by; time.Now when nil.
	Now    func() time.Time
	Logger *slog.Logger
}

// Model is where an agent finds its model: the gateway as executors reach it, and the
// model of tasks that name none.
type Model struct{ URL, Default string }

// settleTime is how long the backend may be away when the worker stops, before
// what is still to be told to it is left to the next start.
const settleTime = 10 * time.Second

// Worker holds runs. Use: New, Run once.
type Worker struct {
	opts    Options
	logger  *slog.Logger
	now     func() time.Time
	metrics *Metrics

	// settling outlasts Run's context by settleTime, for what is still to be told to the
	// backend when the worker stops.
	settling context.Context

	// wake asks for a look at the queue.
	wake chan struct{}
	// background are acknowledgements on their way.
	background sync.WaitGroup
	// supervisors are the held runs.
	supervisors sync.WaitGroup
	// idling are the watchers of waiting executors.
	idling sync.WaitGroup

	// adopted is closed when it is known which runs are held.
	adopted chan struct{}

	mu     sync.Mutex
	count  int                      // of held runs
	runs   map[string]*heldRun      // by run id
	latest map[string]*heldRun      // by session id: whom the next run waits for
	idle   map[string]*idleExecutor // by session id: persistent executors without a run
}

// New returns a worker that does nothing yet.
func New(opts Options) *Worker {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.CancelGrace == 0 {
		opts.CancelGrace = defaultCancelGrace
	}
	if opts.EnginePatience == 0 {
		opts.EnginePatience = defaultEnginePatience
	}
	return &Worker{
		opts: opts, logger: opts.Logger, now: opts.Now, metrics: newMetrics(),
		wake:    make(chan struct{}, 1),
		runs:    make(map[string]*heldRun),
		latest:  make(map[string]*heldRun),
		idle:    make(map[string]*idleExecutor),
		adopted: make(chan struct{}),
	}
}

// Adopted is closed when the worker knows its runs: after a restart, when it
// has adopted what still lives.
func (w *Worker) Adopted() <-chan struct{} { return w.adopted }

// Load is how many runs are held, and the most that may be.
func (w *Worker) Load() (held, limit int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.count, w.maxRuns()
}

func (w *Worker) maxRuns() int { return int(w.opts.QueueConfig.GetMaxConcurrentTasks()) }

func (w *Worker) lease() time.Duration { return w.opts.QueueConfig.GetClaimLease().AsDuration() }

// Run adopts what an earlier process left and works until ctx ends. Then it
// stops claiming, hands its runs over as Options.StopExecutors says, and
// returns when nothing of its own is left.
func (w *Worker) Run(ctx context.Context) error {
	// Leases are kept until the last run is handed over.
	leases, stopLeases := context.WithCancel(context.WithoutCancel(ctx))
	var keeper sync.WaitGroup
	keeper.Go(func() { w.keepLeases(leases) })
	defer keeper.Wait()
	defer stopLeases()

	settling, stopSettling := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSettling()
	w.settling = settling
	defer context.AfterFunc(ctx, func() { time.AfterFunc(settleTime, stopSettling) })()

	if err := w.adopt(ctx); err != nil {
		w.supervisors.Wait()
		return err
	}
	var loops sync.WaitGroup
	loops.Go(func() { w.watchCommands(ctx) })
	loops.Go(func() { w.resumeExports(ctx) })
	if w.opts.Cleanup.GetCleanupEnabled() {
		loops.Go(func() { w.cleanUpLoop(ctx) })
	}
	if w.opts.QueueConfig.GetPullEnabled() {
		loops.Go(func() { w.watchQueue(ctx) })
		loops.Go(func() { w.claimLoop(ctx) })
	} else {
		w.logger.Warn("runs are not taken from the queue: TASK_PULL_ENABLED is false")
	}
	loops.Wait()
	w.supervisors.Wait()
	w.releaseIdle()
	w.idling.Wait()
	w.background.Wait()
	return nil
}

// hold takes a claimed run in and supervises it. asked is when the claim was
// asked for: the lease counts from before the call.
func (w *Worker) hold(ctx context.Context, claim *queuev1.ClaimedRun, asked time.Time, executor *runtime.Executor) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := newHeldRun(w, claim, asked, executor)
	// A run whose lease was lost may be claimed again while its earlier claim
	// still stops its executor; it waits like any run of the session.
	r.after = w.latest[r.sessionID]
	if earlier := w.runs[r.id]; earlier != nil {
		earlier.link.Revoke("the run was claimed again")
	}
	w.count++
	w.runs[r.id], w.latest[r.sessionID] = r, r
	w.opts.Channels.Add(r.link)
	w.metrics.held.Set(float64(w.count))
	w.supervisors.Go(func() { r.supervise(ctx) })
}

// release lets go of a run; its slot is free.
func (w *Worker) release(r *heldRun) {
	w.opts.Channels.Remove(r.link)
	r.link.Close()
	for _, cmd := range r.link.TakeCommands() {
		w.ack(cmd.GetId())
	}
	w.mu.Lock()
	w.count--
	if w.runs[r.id] == r {
		delete(w.runs, r.id)
	}
	if w.latest[r.sessionID] == r {
		delete(w.latest, r.sessionID)
		if r.exports {
			w.opts.Exporter.Start(r.exportJob())
		}
	}
	w.metrics.held.Set(float64(w.count))
	close(r.released)
	w.mu.Unlock()
	w.poke()
}

// held returns a held run, or nil.
func (w *Worker) held(runID string) *heldRun {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.runs[runID]
}

// poke asks for a look at the queue.
func (w *Worker) poke() {
	select {
	case w.wake <- struct{}{}:
	default: // asked for already
	}
}

func (w *Worker) leaseProto() *durationpb.Duration { return durationpb.New(w.lease()) }
