package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/retry"
	"github.com/poco-ai/poco/services/manager/internal/runtime"
)

const (
	// statusTimeout is how long an executor may take to tell what it does: one
	// that is frozen must hold up nobody else.
	statusTimeout = 3 * time.Second
	// The back-off between questions to an executor that says its last words.
	idleFirst = 5 * time.Millisecond
	idleMost  = 100 * time.Millisecond
)

func (w *Worker) dial(e runtime.Executor, logger *slog.Logger) (ExecutorClient, func(), error) {
	client, closeClient, err := w.opts.Dial(e.Addr, w.opts.Identity.ExecutorToken(e.ID))
	if err != nil {
		return nil, nil, fmt.Errorf("connect to the executor: %w", err)
	}
	return client, func() {
		if err := closeClient(); err != nil {
			logger.Debug("connection to the executor did not close", logging.KeyError, err)
		}
	}, nil
}

// statusOf asks an executor what it does.
func (w *Worker) statusOf(ctx context.Context, e runtime.Executor) (*executorv1.GetStatusResponse, error) {
	client, closeClient, err := w.dial(e, w.logger)
	if err != nil {
		return nil, err
	}
	defer closeClient()
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	return client.GetStatus(ctx, &executorv1.GetStatusRequest{})
}

// isIdle tells whether an executor has nothing to do.
func (w *Worker) isIdle(ctx context.Context, e runtime.Executor) bool {
	status, err := w.statusOf(ctx, e)
	return err == nil && status.GetIdle()
}

// awaitIdle gives an executor whose run has ended the time to notice. False for
// one that goes on working: the backend may have ended the run without it.
func (w *Worker) awaitIdle(ctx context.Context, e runtime.Executor) bool {
	ctx, cancel := context.WithTimeout(ctx, lastWords)
	defer cancel()
	wait := retry.BackOff(idleFirst, idleMost)
	for {
		if w.isIdle(ctx, e) {
			return true
		}
		if !retry.Pause(ctx, wait.NextBackOff()) {
			return false
		}
	}
}

// clear returns when nothing lives that worked for a session before, but for an
// executor that waits for its next run. Only then may an attempt begin: two
// agents never work in one workspace.
func (w *Worker) clear(ctx context.Context, sessionID string, logger *slog.Logger) error {
	left, err := w.opts.Runtime.List(ctx, sessionID)
	if err != nil {
		return err
	}
	waiting := w.idleFor(sessionID)
	errs := make([]error, len(left))
	var stopping sync.WaitGroup
	for i, e := range left {
		if waiting != nil && waiting.executor.ID == e.ID {
			continue
		}
		stopping.Go(func() {
			logger.Info("stopping what is left of the session before", logging.KeyExecutorID, e.ID, "attempt", e.Attempt)
			errs[i] = w.stopExecutor(ctx, e.ID, logger)
		})
	}
	stopping.Wait()
	return errors.Join(errs...)
}

// stopExecutor stops an executor until it is gone, or the worker is. Nil: it is
// gone.
func (w *Worker) stopExecutor(ctx context.Context, id string, logger *slog.Logger) error {
	wait := newBackOff()
	for {
		err := w.opts.Runtime.Stop(ctx, id, w.opts.StopGrace)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || errors.Is(err, runtime.ErrClosed) {
			logger.Warn("executor was not seen to stop", logging.KeyExecutorID, id, logging.KeyError, err)
			return err
		}
		logger.Warn("executor cannot be stopped, trying again", logging.KeyExecutorID, id, logging.KeyError, err)
		if !retry.Pause(ctx, wait.NextBackOff()) {
			return err
		}
	}
}
