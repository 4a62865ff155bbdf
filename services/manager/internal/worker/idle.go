package worker

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/manager/internal/runtime"
)

// idleExecutor is a persistent executor that waits for its session's next run.
type idleExecutor struct {
	executor runtime.Executor
	since    time.Time
	stop     context.CancelFunc
	done     chan struct{}
}

// keepIdle keeps an executor for its session's next run. No more are kept than
// runs may be held; the one that waited longest goes first.
func (w *Worker) keepIdle(executor runtime.Executor, logger *slog.Logger) {
	ctx, stop := context.WithCancel(context.Background())
	p := &idleExecutor{executor: executor, since: w.now(), stop: stop, done: make(chan struct{})}
	w.mu.Lock()
	var oldest *idleExecutor
	if len(w.idle) >= w.maxRuns() {
		for _, other := range w.idle {
			if oldest == nil || other.since.Before(oldest.since) {
				oldest = other
			}
		}
		delete(w.idle, oldest.executor.SessionID)
	}
	w.idle[executor.SessionID] = p
	w.idling.Go(func() { w.watchIdle(ctx, p, logger) })
	w.mu.Unlock()
	logger.Info("executor kept for the session's next run", logging.KeyExecutorID, executor.ID)
	if oldest != nil {
		oldest.stop()
		<-oldest.done
		_ = w.stopExecutor(w.settling, oldest.executor.ID, logger)
	}
}

// watchIdle frees what an idle executor leaves behind when it ends by itself.
func (w *Worker) watchIdle(ctx context.Context, p *idleExecutor, logger *slog.Logger) {
	defer close(p.done)
	exit, err := w.opts.Runtime.Watch(ctx, p.executor.ID)
	if ctx.Err() != nil || err != nil && !errors.Is(err, runtime.ErrNotFound) {
		return
	}
	w.mu.Lock()
	if w.idle[p.executor.SessionID] == p {
		delete(w.idle, p.executor.SessionID)
	}
	w.mu.Unlock()
	logger.Info("waiting executor ended", logging.KeyExecutorID, p.executor.ID, "exit", exit.String())
	_ = w.stopExecutor(w.settling, p.executor.ID, logger) // ctx only ends the watching
}

// takeIdle takes a session's waiting executor over.
func (w *Worker) takeIdle(sessionID string) (runtime.Executor, bool) {
	w.mu.Lock()
	p := w.idle[sessionID]
	delete(w.idle, sessionID)
	w.mu.Unlock()
	if p == nil {
		return runtime.Executor{}, false
	}
	select {
	case <-p.done: // it has ended
		return runtime.Executor{}, false
	default:
	}
	p.stop()
	<-p.done
	return p.executor, true
}

// releaseIdle lets go of all waiting executors when the worker stops.
func (w *Worker) releaseIdle() {
	w.mu.Lock()
	all := w.idle
	w.idle = make(map[string]*idleExecutor)
	w.mu.Unlock()
	for _, p := range all {
		p.stop()
		<-p.done
		if w.opts.StopExecutors {
			_ = w.stopExecutor(w.settling, p.executor.ID, w.logger)
		}
	}
}
