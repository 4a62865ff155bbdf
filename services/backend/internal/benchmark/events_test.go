package benchmark

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/poco-ai/poco/db/dbtest"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
)

const (
	// talkers are how many runs report at once, each its next batch when the one
	// before is stored.
	talkers = 10
	// talkTime is how long they do.
	talkTime = 4 * time.Second
	// textBytes is how long the text of a message is.
	textBytes = 200
)

func event(seq int64, payload *executorv1.RunEventPayload) *executorv1.RunEvent {
	return &executorv1.RunEvent{RunSeq: seq, OccurredAt: timestamppb.Now(), Payload: payload}
}

// message is a message of the assistant as the Claude Code CLI prints it, without
// the counts of tokens.
func message() *executorv1.RunEventPayload {
	id := uuid.NewString()
	// No text is like another one, or compression would tell of the benchmark.
	text := strings.Repeat(uuid.NewString()+" ", textBytes/32)[:textBytes]
	return &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_MessageAdded{MessageAdded: &backendv1.MessageAdded{
		MessageId: id, Role: backendv1.MessageRole_MESSAGE_ROLE_ASSISTANT,
		Blocks:       []*backendv1.ContentBlock{{Kind: &backendv1.ContentBlock_Text{Text: &backendv1.TextBlock{Text: text}}}},
		VerbatimJson: fmt.Sprintf(`{"type":"assistant","message":{"role":"assistant","content":[{"type":"text","text":%q}]},"uuid":%q}`, text, id),
	}}}
}

func (p *poco) append(ctx context.Context, r *queuev1.ClaimedRun, events ...*executorv1.RunEvent) error {
	_, err := p.queue.AppendRunEvents(ctx, &queuev1.AppendRunEventsRequest{
		RunId: r.GetRun().GetId(), FencingToken: r.GetFencingToken(), Events: events,
	})
	return err
}

// talk appends the nth batch of a run.
func (p *poco) talk(ctx context.Context, r *queuev1.ClaimedRun, n, batch int) error {
	events := make([]*executorv1.RunEvent, 0, batch)
	for i := range batch {
		events = append(events, event(int64(n*batch+i)+1, message()))
	}
	return p.append(ctx, r, events...)
}

// BenchmarkEvents is how many messages a second are stored that ten runs report:
// over RPC here, with all that is derived from them; by bare statements as the
// floor; and with one HTTP request for each, handled statement by statement.
func BenchmarkEvents(b *testing.B) {
	admin := server(b)
	for _, batch := range []int{1, 10} {
		b.Run(fmt.Sprintf("poco/batch=%d", batch), func(b *testing.B) {
			p := newPoco(b, admin)
			for b.Loop() {
				claimed := p.running(b, talkers)
				rate := during(b, talkers, talkTime, func(ctx context.Context, caller, n int) error {
					return p.talk(ctx, claimed[caller], n, batch)
				})
				b.ReportMetric(rate*float64(batch), "events/s")
			}
		})
		b.Run(fmt.Sprintf("insert/batch=%d", batch), func(b *testing.B) {
			f := newFloor(b, admin)
			for b.Loop() {
				rate := during(b, talkers, talkTime, func(ctx context.Context, caller, n int) error {
					return f.insert(ctx, f.runs[caller], n, batch)
				})
				b.ReportMetric(rate*float64(batch), "events/s")
			}
		})
	}
	b.Run("request", func(b *testing.B) {
		c := newCallbacks(b, newFloor(b, admin))
		for b.Loop() {
			b.ReportMetric(during(b, talkers, talkTime, c.post), "events/s")
		}
	})
}

// floor is a database without Poco, with one session for each run.
type floor struct {
	pool *pgxpool.Pool
	runs [talkers]string
}

func newFloor(b *testing.B, admin string) *floor {
	b.Helper()
	f := &floor{pool: pool(b, dbtest.Empty(b, admin))}
	_, err := f.pool.Exec(b.Context(), `
		CREATE TABLE events (run_id uuid, seq bigint, payload bytea NOT NULL, PRIMARY KEY (run_id, seq));
		CREATE TABLE messages (run_id uuid, seq bigint, role text NOT NULL, text text NOT NULL, PRIMARY KEY (run_id, seq));
		CREATE TABLE runs (id uuid PRIMARY KEY, status text NOT NULL, last_seq bigint NOT NULL DEFAULT 0, updated_at timestamptz);
		CREATE TABLE sessions (id uuid PRIMARY KEY, status text NOT NULL, last_seq bigint NOT NULL DEFAULT 0, updated_at timestamptz)`)
	require.NoError(b, err)
	for i := range f.runs {
		f.runs[i] = uuid.NewString()
		_, err := f.pool.Exec(b.Context(), `
			WITH s AS (INSERT INTO sessions (id, status) VALUES ($1, 'running'))
			INSERT INTO runs (id, status) VALUES ($1, 'running')`, f.runs[i])
		require.NoError(b, err)
	}
	return f
}

// insert stores the same messages as poco.talk.
func (f *floor) insert(ctx context.Context, run string, n, batch int) error {
	seqs, payloads := make([]int64, 0, batch), make([][]byte, 0, batch)
	for i := range batch {
		raw, err := proto.Marshal(message())
		if err != nil {
			return err
		}
		seqs, payloads = append(seqs, int64(n*batch+i)), append(payloads, raw)
	}
	_, err := f.pool.Exec(ctx, "INSERT INTO events SELECT $1, unnest($2::bigint[]), unnest($3::bytea[])", run, seqs, payloads)
	return err
}

// callbacks is the design of one request per event: an executor posts each event
// by itself to its manager, which posts it to the backend, which stores it
// statement by statement in a transaction.
type callbacks struct {
	*floor
	url string
}

type callback struct {
	Run     string          `json:"run_id"`
	Seq     int64           `json:"seq"`
	Message json.RawMessage `json:"message"`
}

func newCallbacks(b *testing.B, f *floor) *callbacks {
	backend := handle(b, f.receive)
	return &callbacks{f, handle(b, func(r *http.Request) error { return post(r.Context(), backend, r.Body) })}
}

// handle serves posts and returns where.
func handle(b *testing.B, receive func(*http.Request) error) string {
	b.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := receive(r); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}))
	b.Cleanup(server.Close)
	return server.URL
}

func post(ctx context.Context, url string, body io.Reader) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, body)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", url, resp.Status)
	}
	return nil
}

func (f *floor) receive(r *http.Request) error {
	var c callback
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
		return err
	}
	ctx := r.Context()
	return pgx.BeginFunc(ctx, f.pool, func(tx pgx.Tx) error {
		for _, table := range []string{"sessions", "runs"} {
			var status string
			if err := tx.QueryRow(ctx, "SELECT status FROM "+table+" WHERE id = $1 FOR UPDATE", c.Run).Scan(&status); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, "INSERT INTO events VALUES ($1, $2, $3)", c.Run, c.Seq, []byte(c.Message)); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "INSERT INTO messages VALUES ($1, $2, 'assistant', $3)", c.Run, c.Seq, string(c.Message)); err != nil {
			return err
		}
		for _, table := range []string{"sessions", "runs"} {
			if _, err := tx.Exec(ctx, "UPDATE "+table+" SET last_seq = $2, updated_at = now() WHERE id = $1", c.Run, c.Seq); err != nil {
				return err
			}
		}
		return nil
	})
}

// post is one event of a run.
func (c *callbacks) post(ctx context.Context, caller, n int) error {
	body, err := json.Marshal(callback{c.runs[caller], int64(n), json.RawMessage(message().GetMessageAdded().GetVerbatimJson())})
	if err != nil {
		return err
	}
	return post(ctx, c.url, bytes.NewReader(body))
}

// BenchmarkStored is how many bytes the database grows by for each message, indexes
// included.
func BenchmarkStored(b *testing.B) {
	const batches, batch = 500, 10
	p := newPoco(b, server(b))
	claimed := p.running(b, talkers)
	for b.Loop() {
		before := p.size(b)
		for n := range batches {
			require.NoError(b, p.talk(b.Context(), claimed[n%talkers], n/talkers, batch))
		}
		b.ReportMetric(float64(p.size(b)-before)/(batches*batch), "bytes/message")
	}
}

// size is that of all tables, without the rows that are dead.
func (p *poco) size(b *testing.B) int64 {
	b.Helper()
	_, err := p.pool.Exec(b.Context(), "VACUUM FULL")
	require.NoError(b, err)
	var size int64
	require.NoError(b, p.pool.QueryRow(b.Context(),
		"SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace").Scan(&size))
	return size
}
