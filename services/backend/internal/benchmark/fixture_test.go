package benchmark

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/poco-ai/poco/db/dbtest"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/backend/app"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/grpcclient"
	"github.com/poco-ai/poco/services/internal/testkit"
)

const (
	internalToken = "internal-token-of-the-benchmark"
	worker        = "manager-of-the-benchmark"
	// claimSize is how many runs are claimed at once.
	claimSize = 100
	// connections are what each side may have to Postgres.
	connections = 20
)

// server is the one Postgres of all sides, with durable commits.
func server(b *testing.B) string {
	b.Helper()
	postgres, _ := testkit.OwnPostgres(b)
	return postgres.URL()
}

// pool opens a database.
func pool(b *testing.B, url string) *pgxpool.Pool {
	b.Helper()
	cfg, err := pgxpool.ParseConfig(url)
	require.NoError(b, err)
	cfg.MaxConns = connections
	p, err := pgxpool.NewWithConfig(b.Context(), cfg)
	require.NoError(b, err)
	b.Cleanup(p.Close)
	return p
}

// poco is a backend that is called as managers call it.
type poco struct {
	queue queuev1.RunQueueServiceClient
	pool  *pgxpool.Pool
}

// newPoco runs a backend on a database of its own until the end of the benchmark.
func newPoco(b *testing.B, admin string) *poco {
	b.Helper()
	url := dbtest.URL(b, admin)
	s3 := testkit.S3(b)
	cfg, err := app.LoadConfig(config.Sources{Environ: []string{
		"DATABASE_URL=" + url, "SECRET_KEY=secret-key-of-the-benchmark", "INTERNAL_API_TOKEN=" + internalToken,
		"S3_ENDPOINT=" + s3.Config.GetEndpoint(), "S3_BUCKET=" + s3.Config.GetBucket(),
		"S3_ACCESS_KEY=" + s3.AccessKey.Reveal(), "S3_SECRET_KEY=" + s3.SecretKey.Reveal(),
	}})
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	listener := testkit.Listener(b)
	go func() {
		done <- app.Run(ctx, cfg, app.Options{
			Logger: slog.New(slog.DiscardHandler), Listener: listener, Ready: func(baseURL string) { ready <- baseURL },
		})
	}()
	b.Cleanup(func() {
		cancel()
		require.NoError(b, <-done)
	})
	return &poco{queue: queuev1.NewRunQueueServiceClient(dial(b, <-ready)), pool: pool(b, url)}
}

// dial connects as managers do.
func dial(b *testing.B, baseURL string) *grpc.ClientConn {
	b.Helper()
	conn, err := grpcclient.Dial(baseURL, config.NewSecret(internalToken))
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, conn.Close()) })
	return conn
}

// enqueue puts runs of as many sessions into the queue, without the calls that
// do so.
func (p *poco) enqueue(b *testing.B, runs int) {
	b.Helper()
	_, err := p.pool.Exec(b.Context(), `
		WITH s AS (
			INSERT INTO sessions (id, user_id, queued_runs, claimable_at)
			SELECT gen_random_uuid(), 'user-' || n % 10, 1, now() FROM generate_series(1, $1::int) n RETURNING id, user_id),
		c AS (INSERT INTO session_contents (session_id, config) SELECT id, '' FROM s),
		r AS (
			INSERT INTO runs (id, session_id, user_id, schedule_mode, scheduled_at)
			SELECT gen_random_uuid(), id, user_id, 'immediate', now() FROM s RETURNING id)
		INSERT INTO run_inputs (run_id, prompt, config) SELECT id, 'do it', '' FROM r`, runs)
	require.NoError(b, err)
	analyze(b, p.pool)
}

func analyze(b *testing.B, p *pgxpool.Pool) {
	b.Helper()
	_, err := p.Exec(b.Context(), "VACUUM ANALYZE")
	require.NoError(b, err)
}

// claim claims runs until it has got a number of them.
func (p *poco) claim(ctx context.Context, runs int, each func(*queuev1.ClaimedRun)) error {
	for runs > 0 {
		resp, err := p.queue.ClaimRuns(ctx, &queuev1.ClaimRunsRequest{
			WorkerId: worker, MaxRuns: int32(min(runs, claimSize)), LeaseDuration: durationpb.New(time.Hour),
		})
		if err != nil {
			return err
		}
		for _, r := range resp.GetRuns() {
			each(r)
		}
		runs -= len(resp.GetRuns())
	}
	return nil
}

// start starts a run that was claimed.
func (p *poco) start(ctx context.Context, r *queuev1.ClaimedRun) error {
	_, err := p.queue.StartRun(ctx, &queuev1.StartRunRequest{RunId: r.GetRun().GetId(), FencingToken: r.GetFencingToken()})
	return err
}

// running claims and starts runs.
func (p *poco) running(b *testing.B, runs int) []*queuev1.ClaimedRun {
	b.Helper()
	p.enqueue(b, runs)
	var claimed []*queuev1.ClaimedRun
	require.NoError(b, p.claim(b.Context(), runs, func(r *queuev1.ClaimedRun) { claimed = append(claimed, r) }))
	for _, r := range claimed {
		require.NoError(b, p.start(b.Context(), r))
	}
	return claimed
}

// during has a number of callers do work one piece after the other, for a while,
// and returns how many pieces were done in a second.
func during(b *testing.B, callers int, took time.Duration, work func(ctx context.Context, caller, n int) error) float64 {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), took)
	defer cancel()
	var done atomic.Int64
	g, working := errgroup.WithContext(b.Context())
	began := time.Now()
	for caller := range callers {
		g.Go(func() error {
			for n := 0; ctx.Err() == nil; n++ {
				if err := work(working, caller, n); err != nil {
					return err
				}
				done.Add(1)
			}
			return nil
		})
	}
	require.NoError(b, g.Wait())
	return float64(done.Load()) / time.Since(began).Seconds()
}
