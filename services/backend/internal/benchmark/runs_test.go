package benchmark

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/poco-ai/poco/db/dbtest"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
)

const (
	runs = 10_000
	// executors are how many runs of a manager start and end at once.
	executors = 200
	// defaultJobs are fewer, because River by default works 100 in 100 ms.
	defaultJobs = 2_000
)

// BenchmarkRuns is how many runs a second are taken from a full queue, started and
// ended: over RPC here, in the process that works them in River.
func BenchmarkRuns(b *testing.B) {
	admin := server(b)
	b.Run("poco", func(b *testing.B) {
		p := newPoco(b, admin)
		for b.Loop() {
			b.StopTimer()
			p.enqueue(b, runs)
			b.StartTimer()
			took := timed(func() { require.NoError(b, p.work(b.Context(), runs)) })
			b.ReportMetric(runs/took.Seconds(), "runs/s")
		}
	})
	b.Run("river-tuned", func(b *testing.B) {
		benchmarkRiver(b, admin, runs, &river.Config{
			FetchCooldown: river.FetchCooldownMin, FetchPollInterval: river.FetchCooldownMin,
			Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 2_000}},
		})
	})
	b.Run("river-default", func(b *testing.B) {
		benchmarkRiver(b, admin, defaultJobs, &river.Config{
			Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 100}},
		})
	})
}

func timed(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}

// work is a manager whose runs end as soon as they have started.
func (p *poco) work(ctx context.Context, runs int) error {
	g, ctx := errgroup.WithContext(ctx)
	claimed := make(chan *queuev1.ClaimedRun, claimSize)
	g.Go(func() error {
		defer close(claimed)
		return p.claim(ctx, runs, func(r *queuev1.ClaimedRun) { claimed <- r })
	})
	for range executors {
		g.Go(func() error {
			for r := range claimed {
				if err := p.start(ctx, r); err != nil {
					return err
				}
				if err := p.finish(ctx, r); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// finish reports the end of a run as its executor does.
func (p *poco) finish(ctx context.Context, r *queuev1.ClaimedRun) error {
	return p.append(ctx, r, event(r.GetNextRunSeq(), &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_RunFinished{
		RunFinished: &backendv1.RunFinished{Status: backendv1.RunStatus_RUN_STATUS_COMPLETED},
	}}))
}

// job is what a run is in River.
type job struct {
	Prompt string `json:"prompt"`
}

// Kind implements river.JobArgs.
func (job) Kind() string { return "job" }

// jobWorker implements river.Worker, with jobs that end as soon as they have
// started.
type jobWorker struct{ river.WorkerDefaults[job] }

// Work implements river.Worker.
func (jobWorker) Work(context.Context, *river.Job[job]) error { return nil }

func benchmarkRiver(b *testing.B, admin string, jobs int, cfg *river.Config) {
	p := pool(b, dbtest.Empty(b, admin))
	driver := riverpgxv5.New(p)
	migrator, err := rivermigrate.New(driver, nil)
	require.NoError(b, err)
	_, err = migrator.Migrate(b.Context(), rivermigrate.DirectionUp, nil)
	require.NoError(b, err)
	for b.Loop() {
		b.StopTimer()
		insertJobs(b, p, driver, jobs)
		b.StartTimer()
		took := timed(func() { workJobs(b, driver, jobs, cfg) })
		b.ReportMetric(float64(jobs)/took.Seconds(), "runs/s")
	}
}

func insertJobs(b *testing.B, p *pgxpool.Pool, driver *riverpgxv5.Driver, jobs int) {
	b.Helper()
	client, err := river.NewClient(driver, &river.Config{})
	require.NoError(b, err)
	params := make([]river.InsertManyParams, jobs)
	for i := range params {
		params[i].Args = job{Prompt: "do it"}
	}
	_, err = client.InsertManyFast(b.Context(), params)
	require.NoError(b, err)
	analyze(b, p)
}

// workJobs returns when all jobs have been completed in the database.
func workJobs(b *testing.B, driver *riverpgxv5.Driver, jobs int, cfg *river.Config) {
	b.Helper()
	cfg.Workers = river.NewWorkers()
	river.AddWorker(cfg.Workers, jobWorker{})
	client, err := river.NewClient(driver, cfg)
	require.NoError(b, err)
	completed, unsubscribe := client.SubscribeConfig(&river.SubscribeConfig{
		ChanSize: jobs, Kinds: []river.EventKind{river.EventKindJobCompleted},
	})
	defer unsubscribe()
	require.NoError(b, client.Start(b.Context()))
	for range jobs {
		<-completed
	}
	require.NoError(b, client.Stop(b.Context()))
}
