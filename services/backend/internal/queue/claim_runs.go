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
	err := q.store.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		claimed = nil
		sessions, err := tx.LockClaimable(ctx, dbgen.SessionLockClaimableParams{
			ScheduleModes: modes, WorkerID: worker, TakeOver: q.mayJudgeWorkers(), GoneAfter: q.timing.WorkerGone, MaxRuns: limit,
		})
		if err != nil || len(sessions) == 0 {
			return err
		}
		runs, err := tx.Q.RunClaim(ctx, dbgen.RunClaimParams{WorkerID: worker, LeaseDuration: lease, SessionIds: ids(sessions), ScheduleModes: modes})
		if err != nil {
			return fmt.Errorf("claim runs: %w", err)
		}
		claimed, err = handOut(ctx, tx, sessions, runs, lease, run.Claim)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("claim: %w", err)
	}
	if len(claimed) > 0 {
		q.SweepBy(time.Now().Add(lease))
	}
	return claimed, nil
}

func ids(sessions []*store.Session) []string {
	ids := make([]string, 0, len(sessions))
	for _, s := range sessions {
		ids = append(ids, s.ID)
	}
	return ids
}

// handOut describes runs to the worker that has got them, at most one for each
// session, in the order of the sessions: the database returns updated rows in none.
func handOut(ctx context.Context, tx *store.Tx, sessions []*store.Session, rows []dbgen.Run, lease time.Duration, note func(*store.Session, *store.Run) error) ([]*queuev1.ClaimedRun, error) {
	bySession := make(map[string]dbgen.Run, len(rows))
	runIDs := make([]string, 0, len(rows))
	for _, row := range rows {
		bySession[row.SessionID] = row
		runIDs = append(runIDs, row.ID)
	}
	asked, err := run.Inputs(ctx, tx, runIDs...)
	if err != nil {
		return nil, err
	}
	var out []*queuev1.ClaimedRun
	for _, s := range sessions {
		row, ok := bySession[s.ID]
		if !ok {
			continue // another transaction changed the run between the two statements
		}
		r := s.Use(row)
		if err := note(s, r); err != nil {
			return nil, err
		}
		c, err := claimedRun(ctx, s, r, asked[r.ID], lease)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

func claimedRun(ctx context.Context, s *store.Session, r *store.Run, asked run.Input, lease time.Duration) (*queuev1.ClaimedRun, error) {
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
		Run: run.Proto(&r.Run), UserId: r.UserID, Prompt: asked.Prompt, Config: asked.Config, AgentSessionId: s.AgentSessionIds[agents.Of(asked.Config)],
		FencingToken: r.FencingToken, LeaseDuration: durationpb.New(lease), NextRunSeq: r.LastRunSeq + 1, PromptSubmitted: r.PromptSubmitted,
		PromptOffered: r.OfferedAttempt != 0, ReportedMessageIds: reported, LatestMessages: latest,
	}, nil
}

// latestMessages are the last messages of a run as its agent printed them, oldest
// first: more than the agent can have failed to write down.
func latestMessages(ctx context.Context, tx *store.Tx, r *store.Run) ([]string, error) {
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
