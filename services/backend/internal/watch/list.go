package watch

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/backend/internal/hint"
	"github.com/poco-ai/poco/services/backend/internal/session"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

const (
	// listBatch bounds one query for changed sessions, which may show a lot.
	listBatch = 16
	// maxMarked is how many changed sessions a slow watcher may have waiting;
	// beyond it, it is asked to list again.
	maxMarked = 1000
	// resyncInterval is the backup for hints that were missed: the watcher is
	// asked to list again, which costs less than to look for what changed.
	resyncInterval = time.Minute
)

// listWatch is one stream of changes of a user's sessions.
type listWatch struct {
	changed hint.Signal

	mu     sync.Mutex
	marked map[string]struct{}
	missed bool
}

func (l *listWatch) mark(sessionID string) {
	l.mu.Lock()
	if len(l.marked) < maxMarked {
		l.marked[sessionID] = struct{}{}
	} else {
		l.missed = true
	}
	l.mu.Unlock()
	l.changed.Notify()
}

func (l *listWatch) resync() {
	l.mu.Lock()
	l.missed = true
	l.mu.Unlock()
	l.changed.Notify()
}

func (l *listWatch) take() (ids []string, missed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range l.marked {
		ids = append(ids, id)
	}
	missed = l.missed
	l.marked, l.missed = make(map[string]struct{}), false
	return ids, missed
}

// Sessions streams changes of a user's sessions until ctx is done. Each stands
// for all changes since the last one of the same session.
func (h *Hub) Sessions(ctx context.Context, userID string, req *backendv1.WatchSessionsRequest, send func(*backendv1.WatchSessionsResponse) error) error {
	l := &listWatch{marked: make(map[string]struct{})}
	key := hint.UserKey(userID)
	h.mu.Lock()
	if h.lists[key] == nil {
		h.lists[key] = make(map[*listWatch]struct{})
	}
	h.lists[key][l] = struct{}{}
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.lists[key], l)
		if len(h.lists[key]) == 0 {
			delete(h.lists, key)
		}
	}()
	timer := time.NewTimer(h.Heartbeat)
	defer timer.Stop()
	resync := time.NewTicker(resyncInterval)
	defer resync.Stop()
	for {
		changed := l.changed.C()
		if err := h.sendSessions(ctx, l, userID, req, send); err != nil {
			return err
		}
		timer.Reset(h.Heartbeat)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		case <-resync.C:
			l.resync()
		case <-timer.C:
			err := send(&backendv1.WatchSessionsResponse{Kind: &backendv1.WatchSessionsResponse_Heartbeat{
				Heartbeat: heartbeat(),
			}})
			if err != nil {
				return err
			}
		}
	}
}

func (h *Hub) sendSessions(ctx context.Context, l *listWatch, userID string, req *backendv1.WatchSessionsRequest, send func(*backendv1.WatchSessionsResponse) error) error {
	ids, missed := l.take()
	if missed {
		err := send(&backendv1.WatchSessionsResponse{Kind: &backendv1.WatchSessionsResponse_Resync{Resync: &backendv1.Resync{}}})
		if err != nil {
			return err
		}
	}
	for batch := range slices.Chunk(ids, listBatch) {
		rows, err := h.store.Read().SessionGetMany(ctx, batch, userID)
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return rpcerror.Unavailable(backendv1.ErrorReason_ERROR_REASON_DATABASE_UNAVAILABLE, "the sessions cannot be read now; watch again").
				WithCause(fmt.Errorf("read sessions: %w", err))
		}
		for i := range rows {
			row := &rows[i].Session
			projectID := req.GetProjectId()
			inProject := projectID == "" || (row.ProjectID != nil && *row.ProjectID == projectID)
			m := &backendv1.WatchSessionsResponse{}
			switch {
			case row.DeletedAt != nil || !inProject:
				// For this list, a session that left the project is gone.
				m.Kind = &backendv1.WatchSessionsResponse_DeletedSessionId{DeletedSessionId: row.ID}
			case req.GetView() != backendv1.SessionView_SESSION_VIEW_FULL:
				m.Kind = &backendv1.WatchSessionsResponse_Session{Session: session.Basic(row)}
			default:
				p, err := session.Proto(row, &rows[i].SessionContent)
				if err != nil {
					return err
				}
				m.Kind = &backendv1.WatchSessionsResponse_Session{Session: p}
			}
			if err := send(m); err != nil {
				return err
			}
		}
	}
	return nil
}
