package queue_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/backend/internal/backendtest"
	"github.com/poco-ai/poco/services/internal/auth"
)

// fill adds sessions whose one run has ended, as a deployment has after a while.
func fill(b *testing.B, backend *backendtest.Backend, sessions int) {
	b.Helper()
	_, err := backend.Pool.Exec(b.Context(), `
		WITH s AS (
			INSERT INTO sessions (id, user_id, status, last_seq)
			SELECT gen_random_uuid(), 'user-' || n % 10, 'completed', 1 FROM generate_series(1, $1::int) n RETURNING id, user_id),
		c AS (INSERT INTO session_contents (session_id, config) SELECT id, '' FROM s)
		INSERT INTO runs (id, session_id, user_id, status, schedule_mode, scheduled_at)
		SELECT gen_random_uuid(), id, user_id, 'completed', 'immediate', now() - interval '1 day' FROM s`, sessions)
	require.NoError(b, err)
	_, err = backend.Pool.Exec(b.Context(), "ANALYZE")
	require.NoError(b, err)
}

// BenchmarkClaim is the cost of one run's claim, whatever else is stored.
func BenchmarkClaim(b *testing.B) {
	for _, sessions := range []int{100, 100_000} {
		b.Run(fmt.Sprintf("sessions=%d", sessions), func(b *testing.B) {
			backend := backendtest.New(b)
			fill(b, backend, sessions)
			for range b.N {
				backend.Enqueue(b, "", "x")
			}
			b.ResetTimer()
			for range b.N {
				backend.Claim(b, "w1")
			}
		})
	}
}

// BenchmarkClaimEmpty is the cost of a poll that finds nothing.
func BenchmarkClaimEmpty(b *testing.B) {
	backend := backendtest.New(b)
	fill(b, backend, 100_000)
	for b.Loop() {
		_, err := backend.Queue.Claim(b.Context(), "w1", 5, nil, backendtest.Lease)
		require.NoError(b, err)
	}
}

// BenchmarkClaimBusy is the cost of one run's claim beside a session that works
// and has runs waiting, all of them older.
func BenchmarkClaimBusy(b *testing.B) {
	for _, queued := range []int{0, 20_000} {
		b.Run(fmt.Sprintf("queued=%d", queued), func(b *testing.B) {
			backend := backendtest.New(b)
			busy := backend.Start(b, "w1").GetRun().GetSessionId()
			queueMore(b, backend, busy, queued)
			for range b.N {
				backend.Enqueue(b, "", "x")
			}
			b.ResetTimer()
			for range b.N {
				backend.Claim(b, "w1")
			}
		})
	}
}

// queueMore adds runs to a session, without the calls that do so.
func queueMore(b *testing.B, backend *backendtest.Backend, session string, runs int) {
	b.Helper()
	_, err := backend.Pool.Exec(b.Context(), `
		WITH r AS (
			INSERT INTO runs (id, session_id, user_id, schedule_mode, scheduled_at)
			SELECT gen_random_uuid(), s.id, s.user_id, 'immediate', now() FROM sessions s, generate_series(1, $2::int) WHERE s.id = $1
			RETURNING id),
		i AS (INSERT INTO run_inputs (run_id, prompt, config) SELECT id, 'do it', '' FROM r)
		UPDATE sessions SET queued_runs = queued_runs + $2 WHERE id = $1`, session, runs)
	require.NoError(b, err)
	_, err = backend.Pool.Exec(b.Context(), "VACUUM ANALYZE")
	require.NoError(b, err)
}

// BenchmarkLists is the cost of the first page of a user's sessions and runs.
func BenchmarkLists(b *testing.B) {
	for _, sessions := range []int{1_000, 100_000} {
		backend := backendtest.New(b)
		fill(b, backend, sessions)
		b.Run(fmt.Sprintf("list=sessions/sessions=%d", sessions), func(b *testing.B) {
			for b.Loop() {
				_, err := backend.Sessions.ListSessions(auth.WithUser(b.Context(), "user-1"), &backendv1.ListSessionsRequest{})
				require.NoError(b, err)
			}
		})
		b.Run(fmt.Sprintf("list=runs/sessions=%d", sessions), func(b *testing.B) {
			for b.Loop() {
				_, err := backend.Runs.ListRuns(auth.WithUser(b.Context(), "user-1"), &backendv1.ListRunsRequest{})
				require.NoError(b, err)
			}
		})
	}
}

// BenchmarkAppend is the cost of a batch, and of each event in it.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			backend := backendtest.New(b)
			c := backend.Start(b, "w1")
			seq := int64(0)
			for b.Loop() {
				events := make([]*executorv1.RunEvent, 0, size)
				for range size {
					seq++
					events = append(events, backendtest.Text(seq, "The quick brown fox jumps over the lazy dog."))
				}
				backend.Append(b, c, events...)
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(seq), "µs/event")
		})
	}
}
