// Package queue hands runs to workers and takes what they report.
package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/poco-ai/poco/db/dbgen"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/backend/internal/run"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// Partials are live text on its way to watchers.
type Partials interface {
	PublishPartials(sessionID string, partials []*backendv1.PartialContent)
}

// Presence tells how long this backend has been there for the holders of leases.
type Presence interface {
	// For is how long it has been there without a gap.
	For() time.Duration
	// Lost says that a holder asked in vain.
	Lost()
}

// workerFresh is how old the note that a worker was heard of may become before
// it is written again.
const workerFresh = 15 * time.Second

// Bounds of a run's latest messages in a claim.
const (
	maxLatest      = 32
	maxLatestBytes = 1 << 20
)

// Queue is the queue of runs.
type Queue struct {
	store    *store.Store
	partials Partials
	logger   *slog.Logger
	timing   Timing
	here     Presence

	sweep   chan struct{}
	sweepMu sync.Mutex
	sweepAt time.Time
	// forgotAt is the sweep's own.
	forgotAt time.Time
}

// Timing is how long the queue waits for others.
type Timing struct {
	// UserInput is how long a question waits that names no end.
	UserInput time.Duration
	// WorkerGone is how long the worker that has a session's workspace must be
	// silent before another one may take the session's runs.
	WorkerGone time.Duration
}

// New returns the queue.
func New(st *store.Store, partials Partials, logger *slog.Logger, timing Timing, here Presence) *Queue {
	return &Queue{store: st, partials: partials, logger: logger, timing: timing, here: here, sweep: make(chan struct{}, 1)}
}

// Claim takes up to max runs for a worker: the oldest that may start now, one
// for each session, none of a session that has an active run or whose workspace
// is another worker's.
func (q *Queue) Claim(ctx context.Context, worker string, limit int32, modes []string, lease time.Duration) ([]*queuev1.ClaimedRun, error) {
	if len(modes) == 0 {
		modes = run.Modes
	}
	if err := q.touch(ctx, worker); err != nil {
		return nil, err
	}
	if err := q.ExpireLeases(ctx); err != nil {
		q.logger.WarnContext(ctx, "expire leases before a claim", logging.KeyError, err)
	}
	var claimed []*queuev1.ClaimedRun
	for more := true; more && len(claimed) < int(limit); {
		var batch []*queuev1.ClaimedRun
		var err error
		batch, more, err = q.claimBatch(ctx, worker, limit-int32(len(claimed)), modes, lease) //nolint:gosec // at most limit
		if err != nil {
			return nil, fmt.Errorf("claim: %w", err)
		}
		claimed = append(claimed, batch...)
	}
	if len(claimed) > 0 {
		q.SweepBy(time.Now().Add(lease))
	}
	return claimed, nil
}

// claimBatch claims one run of each session that the oldest runs belong to:
// fewer than the limit when several of them belong to one session; more tells
// whether there may be others then.
func (q *Queue) claimBatch(ctx context.Context, worker string, limit int32, modes []string, lease time.Duration) (claimed []*queuev1.ClaimedRun, more bool, err error) {
	err = q.store.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		claimed, more = nil, false
		rows, err := tx.Q.SessionLockClaimable(ctx, dbgen.SessionLockClaimableParams{
			ScheduleModes: modes, WorkerID: worker, TakeOver: q.mayJudgeWorkers(), GoneAfter: q.timing.WorkerGone, MaxRuns: limit,
		})
		if err != nil || len(rows) == 0 {
			return err
		}
		sessions, ids := use(tx, rows)
		runs, err := tx.Q.RunClaim(ctx, dbgen.RunClaimParams{WorkerID: worker, LeaseDuration: lease, SessionIds: ids, ScheduleModes: modes})
		if err != nil {
			return fmt.Errorf("claim runs: %w", err)
		}
		asked, err := inputsOf(ctx, tx, runs)
		if err != nil {
			return err
		}
		claimed, err = record(ctx, sessions, ids, runs, asked, lease)
		// With fewer rows than asked for, these were all.
		more = len(claimed) > 0 && len(rows) == int(limit)
		return err
	})
	return claimed, more, err
}

// record notes claimed runs in their sessions, in the order of the queue: the
// database returns updated rows in none.
func record(ctx context.Context, sessions map[string]*store.Session, ids []string, runs []dbgen.Run, asked map[string]input, lease time.Duration) ([]*queuev1.ClaimedRun, error) {
	bySession := make(map[string]*dbgen.Run, len(runs))
	for i := range runs {
		bySession[runs[i].SessionID] = &runs[i]
	}
	var claimed []*queuev1.ClaimedRun
	for _, id := range ids {
		r := bySession[id]
		if r == nil {
			continue // another transaction took it between the two statements
		}
		if err := run.Claimed(sessions[id], r); err != nil {
			return nil, err
		}
		c, err := claimedRun(ctx, sessions[id], r, asked[r.ID], lease)
		if err != nil {
			return nil, err
		}
		claimed = append(claimed, c)
	}
	return claimed, nil
}

// use takes up locked sessions, each once, in their order.
func use(tx *store.Tx, rows []dbgen.Session) (map[string]*store.Session, []string) {
	sessions := make(map[string]*store.Session, len(rows))
	ids := make([]string, 0, len(rows))
	for _, row := range rows {
		if sessions[row.ID] != nil {
			continue
		}
		sessions[row.ID] = tx.Use(row)
		ids = append(ids, row.ID)
	}
	return sessions, ids
}

// input is what a run was asked to do.
type input struct {
	prompt string
	config *backendv1.TaskConfig
}

// inputs reads what runs were asked to do, by their ids.
func inputs(ctx context.Context, tx *store.Tx, runIDs ...string) (map[string]input, error) {
	rows, err := tx.Q.RunInputList(ctx, runIDs)
	if err != nil {
		return nil, fmt.Errorf("read the inputs of runs: %w", err)
	}
	read := make(map[string]input, len(rows))
	for _, row := range rows {
		cfg := new(backendv1.TaskConfig)
		if err := proto.Unmarshal(row.Config, cfg); err != nil {
			return nil, fmt.Errorf("decode the config of run %s: %w", row.RunID, err)
		}
		read[row.RunID] = input{row.Prompt, cfg}
	}
	for _, id := range runIDs {
		if _, ok := read[id]; !ok {
			return nil, fmt.Errorf("run %s has no input", id)
		}
	}
	return read, nil
}

// inputsOf reads what claimed runs were asked to do.
func inputsOf(ctx context.Context, tx *store.Tx, runs []dbgen.Run) (map[string]input, error) {
	ids := make([]string, 0, len(runs))
	for i := range runs {
		ids = append(ids, runs[i].ID)
	}
	return inputs(ctx, tx, ids...)
}

func claimedRun(ctx context.Context, s *store.Session, r *dbgen.Run, asked input, lease time.Duration) (*queuev1.ClaimedRun, error) {
	var reported, latest []string
	var err error
	if r.OfferedAttempt != 0 {
		if reported, err = s.Tx().Q.MessageIDsOfRun(ctx, r.ID); err == nil {
			latest, err = latestMessages(ctx, s.Tx(), r)
		}
		if err != nil {
			return nil, fmt.Errorf("read the messages of run %s: %w", r.ID, err)
		}
	}
	workspaceWorker := ""
	if s.WorkerID != nil {
		workspaceWorker = *s.WorkerID
	}
	return &queuev1.ClaimedRun{
		WorkspaceWorkerId: workspaceWorker, SnapshotKey: s.SnapshotKey,
		Run: run.Proto(r), UserId: r.UserID, Prompt: asked.prompt, Config: asked.config, AgentSessionId: s.AgentSessionID,
		FencingToken: r.FencingToken, LeaseDuration: durationpb.New(lease), NextRunSeq: r.LastRunSeq + 1, PromptSubmitted: r.PromptSubmitted,
		PromptOffered: r.OfferedAttempt != 0, ReportedMessageIds: reported, LatestMessages: latest,
	}, nil
}

// latestMessages are the last messages of a run as its agent printed them, oldest
// first: more than the agent can have failed to write down.
func latestMessages(ctx context.Context, tx *store.Tx, r *dbgen.Run) ([]string, error) {
	rows, err := tx.Q.MessageLatestOfRun(ctx, r.ID, maxLatest)
	if err != nil {
		return nil, err
	}
	var latest []string
	size := 0
	for _, raw := range rows {
		payload, err := store.DecodePayload(raw)
		if err != nil {
			return nil, err
		}
		verbatim := payload.GetMessageAdded().GetVerbatimJson()
		if size += len(verbatim); size > maxLatestBytes {
			break
		}
		latest = append(latest, verbatim)
	}
	slices.Reverse(latest)
	return latest, nil
}

// touch notes that a worker was heard of.
func (q *Queue) touch(ctx context.Context, worker string) error {
	if err := q.store.Read().WorkerTouch(ctx, worker, min(workerFresh, q.timing.WorkerGone/3)); err != nil {
		return fmt.Errorf("touch worker: %w", err)
	}
	return nil
}

// Renew extends a worker's leases. It says of each whether it is still held.
func (q *Queue) Renew(ctx context.Context, worker string, leases []*queuev1.Lease, duration time.Duration) ([]*queuev1.LeaseRenewal, error) {
	read := q.store.Read()
	if err := q.touch(ctx, worker); err != nil {
		return nil, err
	}
	if len(leases) == 0 {
		return nil, nil
	}
	p := dbgen.RunRenewLeasesParams{WorkerID: worker, LeaseDuration: duration}
	for _, l := range leases {
		p.RunIds = append(p.RunIds, l.GetRunId())
		p.FencingTokens = append(p.FencingTokens, l.GetFencingToken())
	}
	var renewed []dbgen.RunRenewLeasesRow
	// A transaction of its own, for its second try when one is needed.
	err := q.store.Do(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
		renewed, err = tx.Q.RunRenewLeases(ctx, p)
		return err
	})
	if err != nil {
		if ctx.Err() == nil { // the caller is still there: it was not its fault
			q.here.Lost()
		}
		return nil, fmt.Errorf("renew leases: %w", err)
	}
	statuses, err := read.RunStatuses(ctx, p.RunIds)
	if err != nil {
		return nil, fmt.Errorf("read states: %w", err)
	}
	held := make(map[dbgen.RunRenewLeasesRow]bool, len(renewed))
	for _, row := range renewed {
		held[row] = true
	}
	status := make(map[string]string, len(statuses))
	for _, row := range statuses {
		status[row.ID] = row.Status
	}
	renewals := make([]*queuev1.LeaseRenewal, 0, len(leases))
	for _, l := range leases {
		renewal := &queuev1.LeaseRenewal{RunId: l.GetRunId(), Renewed: held[dbgen.RunRenewLeasesRow{ID: l.GetRunId(), FencingToken: l.GetFencingToken()}], Status: store.RunStatus(status[l.GetRunId()])}
		if renewal.Renewed {
			renewal.LeaseDuration = durationpb.New(duration)
		}
		renewals = append(renewals, renewal)
	}
	return renewals, nil
}

// Adopt hands a worker that restarted its runs again, each under a new token.
func (q *Queue) Adopt(ctx context.Context, worker string, lease time.Duration) ([]*queuev1.ClaimedRun, error) {
	if err := q.touch(ctx, worker); err != nil {
		return nil, err
	}
	var adopted []*queuev1.ClaimedRun
	err := q.store.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		adopted = nil
		held, err := tx.Q.RunListHeld(ctx, worker)
		if err != nil || len(held) == 0 {
			return err
		}
		ids := make([]string, 0, len(held))
		for _, h := range held {
			ids = append(ids, h.SessionID)
		}
		rows, err := tx.Q.SessionLockMany(ctx, ids)
		if err != nil {
			return fmt.Errorf("lock sessions: %w", err)
		}
		sessions, ids := use(tx, rows)
		runs, err := tx.Q.RunAdopt(ctx, lease, ids, worker)
		if err != nil {
			return fmt.Errorf("adopt runs: %w", err)
		}
		asked, err := inputsOf(ctx, tx, runs)
		if err != nil {
			return err
		}
		for i := range runs {
			c, err := claimedRun(ctx, sessions[runs[i].SessionID], &runs[i], asked[runs[i].ID], lease)
			if err != nil {
				return err
			}
			adopted = append(adopted, c)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("adopt: %w", err)
	}
	return adopted, nil
}

// change locks a run with its session for a worker that shows its token, and
// calls fn. Anyone who holds the token of a run that has ended may still see it.
func (q *Queue) change(ctx context.Context, runID string, token int64, fn func(ctx context.Context, s *store.Session, r *dbgen.Run) error) error {
	return q.store.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		s, r, err := tx.LockRunWithSession(ctx, runID)
		if store.IsNotFound(err) {
			return rpcerror.NotFound("run", runID)
		}
		if err != nil {
			return err
		}
		logging.About(ctx, runID, s.ID)
		// A lease whose time is over holds as long as nobody has acted on it:
		// anyone who does takes the token away. A run that was never claimed has none.
		if token < 1 || r.FencingToken != token {
			return rpcerror.FailedPrecondition(backendv1.ErrorReason_ERROR_REASON_FENCING_TOKEN_STALE, "the run is no longer held under this fencing token; stop its executor",
				map[string]string{"run_id": runID})
		}
		return fn(ctx, s, r)
	})
}

// Start marks a run as running; see run.Start. A second call changes nothing.
func (q *Queue) Start(ctx context.Context, runID string, token int64) (*backendv1.Run, error) {
	var result *backendv1.Run
	err := q.change(ctx, runID, token, func(ctx context.Context, s *store.Session, r *dbgen.Run) error {
		switch r.Status {
		case store.RunClaimed:
			if err := run.Start(ctx, s, r); err != nil {
				return err
			}
		case store.RunRunning:
		case store.RunCanceling, store.RunCanceled:
			return rpcerror.FailedPrecondition(backendv1.ErrorReason_ERROR_REASON_RUN_CANCELED, "the run was canceled before it started", nil)
		default:
			return rpcerror.FailedPrecondition(backendv1.ErrorReason_ERROR_REASON_RUN_FINISHED, "the run has ended", nil)
		}
		result = run.Proto(r)
		return nil
	})
	return result, err
}

// Release gives back runs that their worker has given to no executor. What is
// not the worker's any more stays as it is.
func (q *Queue) Release(ctx context.Context, leases []*queuev1.Lease) error {
	var errs []error
	for _, l := range leases {
		err := q.change(ctx, l.GetRunId(), l.GetFencingToken(), func(ctx context.Context, s *store.Session, r *dbgen.Run) error {
			if run.IsFinal(r.Status) {
				return nil
			}
			return run.Release(ctx, s, r)
		})
		if err != nil && rpcerror.Reason(err) != backendv1.ErrorReason_ERROR_REASON_FENCING_TOKEN_STALE && rpcerror.CodeOf(err) != connect.CodeNotFound {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Finish ends a run whose executor cannot say so itself. One that goes on with
// another executor is queued again.
func (q *Queue) Finish(ctx context.Context, runID string, token int64, outcome run.Outcome) (*backendv1.Run, error) {
	var result *backendv1.Run
	err := q.change(ctx, runID, token, func(ctx context.Context, s *store.Session, r *dbgen.Run) error {
		if !run.IsFinal(r.Status) {
			if err := finish(ctx, s, r, outcome); err != nil {
				return err
			}
		}
		result = run.Proto(r)
		return nil
	})
	return result, err
}

func finish(ctx context.Context, s *store.Session, r *dbgen.Run, outcome run.Outcome) error {
	goesOn, err := goesOnAfter(ctx, s, r, outcome.Reason)
	switch {
	case err != nil:
		return err
	case goesOn:
		return goOn(ctx, s, r, outcome.Message)
	default:
		return run.Finish(ctx, s, r, outcome)
	}
}

// CheckHeld returns nil when the run is held under the token.
func (q *Queue) CheckHeld(ctx context.Context, runID string, token int64) error {
	return q.change(ctx, runID, token, func(context.Context, *store.Session, *dbgen.Run) error { return nil })
}
