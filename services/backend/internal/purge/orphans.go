package purge

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/google/uuid"

	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/objectstore"
)

const (
	// orphanAge is how old an object must be to be nobody's: younger ones may be
	// of an export that is under way.
	orphanAge = 24 * time.Hour
	// lookupBatch bounds one question to the database.
	lookupBatch = 500
)

// Orphans removes what attempts that failed have left behind before a time:
// uploads that were never finished, and snapshots that their sessions do not go
// by. What belongs to sessions that this database does not know stays: the bucket
// may be another deployment's as well.
func (p *Purger) Orphans(ctx context.Context, before time.Time) error {
	return errors.Join(
		p.opts.Objects.AbortUploads(ctx, objectstore.Workspaces, before),
		p.opts.Objects.AbortUploads(ctx, objectstore.Snapshots, before),
		p.opts.Objects.AbortUploads(ctx, objectstore.Attachments, before),
		p.snapshots(ctx, before),
	)
}

func (p *Purger) snapshots(ctx context.Context, before time.Time) error {
	var keys []string
	err := p.opts.Objects.List(ctx, objectstore.Snapshots, func(o objectstore.Object) error {
		if err := uuid.Validate(sessionOf(o.Key)); err == nil && o.ModTime.Before(before) {
			keys = append(keys, o.Key)
		}
		if len(keys) < lookupBatch {
			return nil
		}
		err := p.removeUnused(ctx, keys)
		keys = keys[:0]
		return err
	})
	if err != nil {
		return err
	}
	return p.removeUnused(ctx, keys)
}

// sessionOf is the folder that a snapshot is in.
func sessionOf(key string) string { return path.Base(path.Dir(key)) }

// removeUnused removes the snapshots that their sessions do not go by.
func (p *Purger) removeUnused(ctx context.Context, keys []string) error {
	ids := make([]string, 0, len(keys))
	for _, key := range keys {
		ids = append(ids, sessionOf(key))
	}
	rows, err := p.opts.Store.Read().SessionListSnapshots(ctx, ids)
	if err != nil {
		return fmt.Errorf("look for the sessions of snapshots: %w", err)
	}
	current := make(map[string]string, len(rows))
	for _, row := range rows {
		current[row.ID] = row.SnapshotKey
	}
	for _, key := range keys {
		used, known := current[sessionOf(key)]
		if !known || key == used {
			continue
		}
		if err := p.opts.Objects.Delete(ctx, key); err != nil {
			return err
		}
		p.logger.InfoContext(ctx, "snapshot that nothing refers to removed", logging.KeySessionID, sessionOf(key), "key", key)
	}
	return nil
}
