package worker

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/manager/internal/runtime"
)

// parked is a persistent executor that waits for its session's next run.
type parked struct {
	executor runtime.Executor
	since    time.Time
	stop     context.CancelFunc
	done     chan struct{}
}

// park keeps an executor for its session's next run. No more are kept than
// runs may be held; the one that waited longest goes first.
func (w *Worker) park(executor runtime.Executor, logger *slog.Logger) {
	ctx, stop := context.WithCancel(context.Background())
	p := &parked{executor: executor, since: w.now(), stop: stop, done: make(chan struct{})}
	w.mu.Lock()
	var oldest *parked
	if len(w.parked) >= w.maxRuns() {
		for _, other := range w.parked {
			if oldest == nil || other.since.Before(oldest.since) {
				oldest = other
			}
		}
		delete(w.parked, oldest.executor.SessionID)
	}
	w.parked[executor.SessionID] = p
	w.parking.Go(func() { w.watchParked(ctx, p, logger) })
	w.mu.Unlock()
	logger.Info("executor kept for the session's next run", logging.KeyExecutorID, executor.ID)
	if oldest != nil {
		oldest.stop()
		<-oldest.done
		_ = w.stopExecutor(w.settling, oldest.executor.ID, logger)
	}
}

// watchParked frees what a parked executor leaves behind when it ends by itself.
func (w *Worker) watchParked(ctx context.Context, p *parked, logger *slog.Logger) {
	defer close(p.done)
	exit, err := w.opts.Runtime.Watch(ctx, p.executor.ID)
	if ctx.Err() != nil || err != nil && !errors.Is(err, runtime.ErrNotFound) {
		return
	}
	w.mu.Lock()
	if w.parked[p.executor.SessionID] == p {
		delete(w.parked, p.executor.SessionID)
	}
	w.mu.Unlock()
	logger.Info("waiting executor ended", logging.KeyExecutorID, p.executor.ID, "exit", exit.String())
	_ = w.stopExecutor(w.settling, p.executor.ID, logger) // ctx only ends the watching
}

// unpark takes a session's waiting executor over.
func (w *Worker) unpark(sessionID string) (runtime.Executor, bool) {
	w.mu.Lock()
	p := w.parked[sessionID]
	delete(w.parked, sessionID)
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

// unparkAll lets go of all waiting executors when the worker stops.
func (w *Worker) unparkAll() {
	w.mu.Lock()
	all := w.parked
	w.parked = make(map[string]*parked)
	w.mu.Unlock()
	for _, p := range all {
		p.stop()
		<-p.done
		if w.opts.StopExecutors {
			_ = w.stopExecutor(w.settling, p.executor.ID, w.logger)
		}
	}
}
