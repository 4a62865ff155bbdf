package queue

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/poco-ai/poco/db/dbgen"
	"github.com/poco-ai/poco/db/dbtype"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/backend/internal/store"
)

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
	status := make(map[string]dbtype.RunStatus, len(statuses))
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

// RenewLeases implements RunQueueService.
func (q *Queue) RenewLeases(ctx context.Context, req *queuev1.RenewLeasesRequest) (*queuev1.RenewLeasesResponse, error) {
	renewals, err := q.Renew(ctx, req.GetWorkerId(), req.GetLeases(), req.GetLeaseDuration().AsDuration())
	if err != nil {
		return nil, err
	}
	return &queuev1.RenewLeasesResponse{Renewals: renewals}, nil
}
