package queue

import (
	"context"
	"fmt"

	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
)

// PendingExports lists the exports that a worker has to make.
func (q *Queue) PendingExports(ctx context.Context, worker string) ([]*queuev1.PendingExport, error) {
	rows, err := q.store.Read().SessionListPendingExports(ctx, worker)
	if err != nil {
		return nil, fmt.Errorf("list pending exports: %w", err)
	}
	exports := make([]*queuev1.PendingExport, 0, len(rows))
	for _, row := range rows {
		e := &queuev1.PendingExport{SessionId: row.ID, UserId: row.UserID}
		if row.ExportRunID != nil {
			e.RunId = *row.ExportRunID
		}
		exports = append(exports, e)
	}
	return exports, nil
}

// ListPendingExports implements RunQueueService.
func (q *Queue) ListPendingExports(ctx context.Context, req *queuev1.ListPendingExportsRequest) (*queuev1.ListPendingExportsResponse, error) {
	exports, err := q.PendingExports(ctx, req.GetWorkerId())
	if err != nil {
		return nil, err
	}
	return &queuev1.ListPendingExportsResponse{Exports: exports}, nil
}
