package purge

import (
	"context"
	"fmt"

	"github.com/poco-ai/poco/services/backend/internal/store"
)

// rowBatch bounds one statement: what it locks, and what is lost when it is
// broken off.
const rowBatch = 1000

// rows removes a deleted session's rows, and tells the workers. gone is false
// while a run of it has not ended.
func (p *Purger) rows(ctx context.Context, id string) (gone bool, err error) {
	active, exists := false, true
	err = p.opts.Store.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		s, err := tx.LockSession(ctx, id)
		if store.IsNotFound(err) {
			exists = false
			return nil
		}
		if err != nil {
			return err
		}
		if s.DeletedAt == nil {
			return fmt.Errorf("session %s is to be purged and was not deleted", id)
		}
		active = s.ActiveRunID != nil || s.QueuedRuns > 0
		return nil
	})
	if err != nil || active {
		return false, err
	}
	if !exists {
		return true, nil
	}
	q := p.opts.Store.Read()
	for _, remove := range []func(context.Context, string, int32) (int64, error){
		q.PurgeRunEvents, q.PurgeFileDiffs, q.PurgeMessages, q.PurgeToolExecutions, q.PurgeUserInputRequests, q.PurgeRuns,
	} {
		for {
			removed, err := remove(ctx, id, rowBatch)
			if err != nil {
				return false, fmt.Errorf("remove rows: %w", err)
			}
			if removed < rowBatch {
				break
			}
		}
	}
	if err := p.attachments(ctx, id); err != nil {
		return false, err
	}
	err = p.opts.Store.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		s, err := tx.LockSession(ctx, id)
		if store.IsNotFound(err) {
			return nil // another purger was faster
		}
		if err != nil {
			return err
		}
		if err := s.CommandDelete(ctx); err != nil {
			return err
		}
		if err := tx.Q.PurgeCommands(ctx, id); err != nil {
			return fmt.Errorf("remove commands: %w", err)
		}
		return tx.Q.PurgeSession(ctx, id)
	})
	return err == nil, err
}

// attachments removes the uploads that only deleted sessions have: before the
// rows that name them.
func (p *Purger) attachments(ctx context.Context, id string) error {
	after := ""
	for {
		rows, err := p.opts.Store.Read().AttachmentList(ctx, id, after, rowBatch)
		if err != nil {
			return fmt.Errorf("list attachments: %w", err)
		}
		var unused []string
		for _, row := range rows {
			if after = row.ObjectKey; !row.Used {
				unused = append(unused, row.ObjectKey)
			}
		}
		if err := p.opts.Objects.Delete(ctx, unused...); err != nil {
			return err
		}
		if len(rows) < rowBatch {
			return nil
		}
	}
}
