package store

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/poco-ai/poco/services/internal/rpcerror"
)

const (
	// maxGroups is how many transactions of changes of runs are under way at once:
	// one is written while the other is committed.
	maxGroups = 2
	// maxGroup bounds the changes that share a transaction.
	maxGroup = 64
)

// errRefused rolls back a group of which some were refused.
var errRefused = errors.New("some changes were refused")

// change is a caller of ChangeRun.
type change struct {
	ctx   context.Context //nolint:containedctx // of the call that waits for done
	runID string
	fn    func(ctx context.Context, s *Session, r *Run) error
	done  chan error
}

// together are the changes of runs that wait for a transaction.
type together struct {
	mu      sync.Mutex
	waiting []*change
	groups  int
}

// ChangeRun locks a run and its session, calls fn, saves what it changed, and
// commits, like Do. A transaction costs more than most changes: those that come
// while others are being committed share the next one. What is refused with an
// rpcerror, as a run that does not exist is, changes nothing of the others.
func (s *Store) ChangeRun(ctx context.Context, runID string, fn func(ctx context.Context, s *Session, r *Run) error) error {
	c := &change{ctx: ctx, runID: runID, fn: fn, done: make(chan error, 1)}
	s.together.mu.Lock()
	s.together.waiting = append(s.together.waiting, c)
	s.beginGroup()
	s.together.mu.Unlock()
	var err error
	select {
	case err = <-c.done:
	case <-ctx.Done():
		if s.withdraw(c) {
			return context.Cause(ctx)
		}
		err = <-c.done
	}
	if p := (*panicked)(nil); errors.As(err, &p) {
		panic(err.Error())
	}
	return err
}

// withdraw takes back a change that no transaction has taken up.
func (s *Store) withdraw(c *change) bool {
	s.together.mu.Lock()
	defer s.together.mu.Unlock()
	i := slices.Index(s.together.waiting, c)
	if i < 0 {
		return false
	}
	s.together.waiting = slices.Delete(s.together.waiting, i, i+1)
	return true
}

// beginGroup has somebody take up what waits. The lock is held.
func (s *Store) beginGroup() {
	if len(s.together.waiting) > 0 && s.together.groups < maxGroups {
		s.together.groups++
		go s.commitGroups()
	}
}

// commitGroups commits one group after the other until nothing waits.
func (s *Store) commitGroups() {
	for group := s.takeGroup(); len(group) > 0; group = s.takeGroup() {
		s.commitGroup(group)
	}
}

// takeGroup takes what has waited longest; when there is nothing, its caller ends.
func (s *Store) takeGroup() []*change {
	s.together.mu.Lock()
	defer s.together.mu.Unlock()
	n := min(len(s.together.waiting), maxGroup)
	if n == 0 {
		s.together.groups--
	}
	group := slices.Clone(s.together.waiting[:n])
	s.together.waiting = slices.Delete(s.together.waiting, 0, n)
	return group
}

// commitGroup commits changes together, but for those that are refused. It waits
// for nobody's lock: a change that would is made alone, as each is when the group
// fails, which may be the fault of one.
func (s *Store) commitGroup(group []*change) {
	ctx, cancel := contextOf(group)
	defer cancel()
	for len(group) > 0 {
		missing, refused, err := s.tryGroup(ctx, group)
		switch {
		case errors.Is(err, errRefused):
			group = slices.DeleteFunc(group, func(c *change) bool {
				err, no := refused[c]
				if no {
					c.done <- err
				}
				return no
			})
			continue
		case err != nil:
			missing = group
		}
		for _, c := range group {
			if slices.Contains(missing, c) {
				go s.changeAlone(c)
			} else {
				c.done <- nil
			}
		}
		return
	}
}

// tryGroup makes changes in one transaction; missing are those whose rows could not
// be locked at once.
func (s *Store) tryGroup(ctx context.Context, group []*change) (missing []*change, refused map[*change]error, err error) {
	err = s.Do(ctx, func(ctx context.Context, tx *Tx) error {
		missing, refused = nil, make(map[*change]error)
		runs, err := tx.lockFree(ctx, group)
		if err != nil {
			return err
		}
		for _, c := range group {
			locked, ok := runs[c.runID]
			if !ok {
				missing = append(missing, c)
				continue
			}
			err := c.apply(ctx, locked.session, locked.run)
			if refusal := (*rpcerror.Error)(nil); errors.As(err, &refusal) {
				refused[c] = err
			} else if err != nil {
				return err
			}
		}
		if len(refused) > 0 {
			return errRefused
		}
		return nil
	})
	return missing, refused, err
}

func (s *Store) changeAlone(c *change) {
	c.done <- s.Do(c.ctx, func(ctx context.Context, tx *Tx) error {
		session, r, err := tx.LockRunWithSession(ctx, c.runID)
		if IsNotFound(err) {
			return rpcerror.NotFound("run", c.runID)
		}
		if err != nil {
			return err
		}
		return c.apply(ctx, session, r)
	})
}

type lockedRun struct {
	session *Session
	run     *Run
}

// lockFree locks those runs of a group, with their sessions, that nobody has
// locked, by the runs' ids.
func (tx *Tx) lockFree(ctx context.Context, group []*change) (map[string]lockedRun, error) {
	ids := make([]string, 0, len(group))
	for _, c := range group {
		ids = append(ids, c.runID)
	}
	rows, err := tx.Q.SessionLockFreeWithRuns(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("lock runs and sessions: %w", err)
	}
	runs := make(map[string]lockedRun, len(rows))
	sessions := make(map[string]*Session, len(rows))
	for _, row := range rows {
		s := sessions[row.Session.ID]
		if s == nil {
			s = tx.use(row.Session)
			sessions[s.ID] = s
		}
		runs[row.Run.ID] = lockedRun{s, s.Use(row.Run)}
	}
	return runs, nil
}

// panicked is what a change panicked with, for the goroutine of its caller.
type panicked struct {
	value any
	stack []byte
}

// Error implements error.
func (p *panicked) Error() string { return fmt.Sprintf("%v\n%s", p.value, p.stack) }

func (c *change) apply(ctx context.Context, s *Session, r *Run) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &panicked{value, debug.Stack()}
		}
	}()
	return c.fn(ctx, s, r)
}

// contextOf ends when the last one of the group's callers is gone.
func contextOf(group []*change) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	var there atomic.Int64
	there.Store(int64(len(group)))
	stops := make([]func() bool, 0, len(group))
	for _, c := range group {
		stops = append(stops, context.AfterFunc(c.ctx, func() {
			if there.Add(-1) == 0 {
				cancel()
			}
		}))
	}
	return ctx, func() {
		for _, stop := range stops {
			stop()
		}
		cancel()
	}
}
