package queue

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/poco-ai/poco/db/dbgen"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/backend/internal/run"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/internal/agents"
	"github.com/poco-ai/poco/services/internal/logging"
)

// Bounds of a run's latest messages in a claim.
const (
	maxLatest      = 32
	maxLatestBytes = 1 << 20
)

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
func record(ctx context.Context, sessions map[string]*store.Session, ids []string, runs []dbgen.Run, asked map[string]run.Input, lease time.Duration) ([]*queuev1.ClaimedRun, error) {
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
		if err := run.Claim(sessions[id], r); err != nil {
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

// inputsOf reads what claimed runs were asked to do.
func inputsOf(ctx context.Context, tx *store.Tx, runs []dbgen.Run) (map[string]run.Input, error) {
	ids := make([]string, 0, len(runs))
	for i := range runs {
		ids = append(ids, runs[i].ID)
	}
	return run.Inputs(ctx, tx, ids...)
}

func claimedRun(ctx context.Context, s *store.Session, r *dbgen.Run, asked run.Input, lease time.Duration) (*queuev1.ClaimedRun, error) {
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
		Run: run.Proto(r), UserId: r.UserID, Prompt: asked.Prompt, Config: asked.Config, AgentSessionId: s.AgentSessionIds[agents.Of(asked.Config)],
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

// ClaimRuns implements RunQueueService.
func (q *Queue) ClaimRuns(ctx context.Context, req *queuev1.ClaimRunsRequest) (*queuev1.ClaimRunsResponse, error) {
	runs, err := q.Claim(ctx, req.GetWorkerId(), req.GetMaxRuns(), req.GetScheduleModes(), req.GetLeaseDuration().AsDuration())
	if err != nil {
		return nil, err
	}
	return &queuev1.ClaimRunsResponse{Runs: runs}, nil
}
