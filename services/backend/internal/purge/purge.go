// Package purge removes what is not to be kept: sessions that were deleted or
// are too old, with their rows and objects, and what failed attempts left behind.
//
// Several backends may do so at once, and each may end at any point: what is to
// be done is a row (deleted_sessions) that goes last, and doing it twice does
// no harm.
package purge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/poco-ai/poco/services/backend/internal/session"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/objectstore"
	"github.com/poco-ai/poco/services/internal/retry"
)

const (
	// hold is how long a deleted session is one purger's: longer than a sweep of
	// it takes, or another one helps.
	hold = 5 * time.Minute
	// activePause is until a session is looked at again whose run has not ended.
	activePause = 2 * time.Second
	// expireBatch bounds one look for sessions that are too old.
	expireBatch = 100
	// orphansInterval is how often the bucket is searched for what failed attempts
	// left behind.
	orphansInterval = 6 * time.Hour
)

// sweeps are the pauses after each sweep of a deleted session's objects. A
// manager that does not know yet uploads for as long as an export may take, and
// one that was frozen or cut off for as long as that lasts.
var sweeps = []time.Duration{
	time.Minute, 10 * time.Minute, time.Hour, 6 * time.Hour,
	24 * time.Hour, 24 * time.Hour, 24 * time.Hour, 24 * time.Hour, 24 * time.Hour, 24 * time.Hour, 24 * time.Hour,
}

// Objects is where the objects are.
type Objects interface {
	List(ctx context.Context, prefix string, yield func(objectstore.Object) error) error
	Delete(ctx context.Context, keys ...string) error
	DeletePrefix(ctx context.Context, prefix string) error
	AbortUploads(ctx context.Context, prefix string, before time.Time) error
}

// Options describes a Purger.
type Options struct {
	Store   *store.Store
	Objects Objects
	// Retention is how long a session is kept after its last run; 0 is for ever.
	Retention time.Duration
	// Interval is how often the purger looks.
	Interval time.Duration
	Logger   *slog.Logger
}

// Purger removes what is not to be kept.
type Purger struct {
	opts   Options
	logger *slog.Logger
}

// New returns a purger; Run it.
func New(opts Options) *Purger { return &Purger{opts: opts, logger: opts.Logger} }

// Run purges until ctx is done.
func (p *Purger) Run(ctx context.Context) error {
	var searched time.Time
	for {
		if err := p.Once(ctx); err != nil && ctx.Err() == nil {
			p.logger.WarnContext(ctx, "what is to be removed stays for now", logging.KeyError, err)
		}
		if time.Since(searched) > orphansInterval {
			searched = time.Now()
			if err := p.Orphans(ctx, searched.Add(-orphanAge)); err != nil && ctx.Err() == nil {
				p.logger.WarnContext(ctx, "what failed attempts left behind stays for now", logging.KeyError, err)
			}
		}
		if !retry.Pause(ctx, p.opts.Interval) {
			return nil
		}
	}
}

// Once removes all that is due now. What cannot be removed holds up nothing else,
// and is tried again later.
func (p *Purger) Once(ctx context.Context) error {
	err := p.expire(ctx)
	for ctx.Err() == nil {
		more, failed := p.next(ctx)
		err = errors.Join(err, failed)
		if !more {
			break
		}
	}
	return errors.Join(err, p.opts.Store.Read().PurgeCommandsOfNobody(ctx))
}

// expire deletes the sessions that are too old, as their user could.
func (p *Purger) expire(ctx context.Context) error {
	if p.opts.Retention <= 0 {
		return nil
	}
	for ctx.Err() == nil {
		rows, err := p.opts.Store.Read().SessionListIdle(ctx, p.opts.Retention, expireBatch)
		if err != nil {
			return fmt.Errorf("list sessions that are too old: %w", err)
		}
		for _, row := range rows {
			err := p.opts.Store.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
				s, err := tx.LockSession(ctx, row.ID)
				if store.IsNotFound(err) {
					return nil
				}
				if err != nil {
					return err
				}
				if s.DeletedAt != nil || s.IdleSince == nil || s.IdleSince.After(*row.IdleSince) {
					return nil // deleted or used in the meantime
				}
				return session.Remove(ctx, s, "The session was kept for as long as SESSION_RETENTION_DAYS says.")
			})
			if err != nil {
				return fmt.Errorf("delete session %s, which is too old: %w", row.ID, err)
			}
			p.logger.InfoContext(ctx, "session is too old and was deleted", logging.KeySessionID, row.ID, "idle_since", row.IdleSince)
		}
		if len(rows) < expireBatch {
			break
		}
	}
	return nil
}

// next sweeps the deleted session that is due for longest; more tells whether
// there was one.
func (p *Purger) next(ctx context.Context) (more bool, err error) {
	due, err := p.opts.Store.Read().DeletedSessionClaim(ctx, hold)
	if store.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for deleted sessions: %w", err)
	}
	if err := p.sweep(ctx, due.SessionID, due.UserID, int(due.Sweeps)); err != nil {
		return true, fmt.Errorf("purge session %s: %w", due.SessionID, err)
	}
	return true, nil
}

// sweep removes a deleted session's rows and objects, as many as there are.
func (p *Purger) sweep(ctx context.Context, id, userID string, swept int) error {
	read := p.opts.Store.Read()
	gone, err := p.rows(ctx, id)
	if err != nil {
		return err
	}
	if !gone {
		return read.DeletedSessionPostpone(ctx, activePause, id)
	}
	now := time.Now()
	for _, prefix := range []string{objectstore.WorkspacePrefix(userID, id), objectstore.SnapshotPrefix(userID, id)} {
		// Uploads first: one that ends in between is an object by then.
		if err := errors.Join(p.opts.Objects.AbortUploads(ctx, prefix, now.Add(time.Minute)), p.opts.Objects.DeletePrefix(ctx, prefix)); err != nil {
			return err
		}
	}
	p.logger.InfoContext(ctx, "deleted session purged", logging.KeySessionID, id, "sweeps", swept+1)
	if swept < len(sweeps) {
		return read.DeletedSessionSwept(ctx, sweeps[swept], id)
	}
	return read.DeletedSessionForget(ctx, id)
}
