package worker

import (
	"context"
	"time"

	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/retry"
	"github.com/poco-ai/poco/services/manager/internal/export"
)

const (
	// ackFor is how long an acknowledgement is tried; the command comes again
	// when it never arrives.
	ackFor = 30 * time.Second
	// exportsInterval is how often the backend is asked which exports are pending:
	// those of runs that it ended itself are learned in no other way.
	exportsInterval = time.Minute
)

// watchCommands takes in what executors must be told. What was not
// acknowledged comes again with every new stream.
func (w *Worker) watchCommands(ctx context.Context) {
	w.keepStream(ctx, "run commands", func(ctx context.Context, alive func()) error {
		stream, err := w.opts.Queue.WatchRunCommands(ctx, &queuev1.WatchRunCommandsRequest{WorkerId: w.opts.Identity.WorkerID})
		if err != nil {
			return err
		}
		for {
			resp, err := stream.Recv()
			if err != nil {
				return err
			}
			alive()
			if cmd := resp.GetCommand(); cmd != nil {
				w.command(cmd) // what it starts outlives the stream
			}
		}
	})
}

func (w *Worker) command(cmd *queuev1.RunCommand) {
	if cmd.GetExport() != nil {
		w.startExport(export.Job{SessionID: cmd.GetSessionId(), RunID: cmd.GetRunId(), UserID: cmd.GetUserId()})
		w.ack(cmd.GetId())
		return
	}
	if cmd.GetDeleteSession() != nil {
		w.background.Go(func() { w.forget(cmd) })
		return
	}
	r := w.held(cmd.GetRunId())
	if r == nil || !r.deliver(cmd) {
		w.ack(cmd.GetId()) // never can take effect, or has
	}
}

// ack tells the backend, in the background, that a command is done with.
func (w *Worker) ack(commandID string) {
	w.background.Go(func() {
		ctx, cancel := context.WithTimeout(w.settling, ackFor)
		defer cancel()
		_, err := callUntilAnswered(ctx, func(ctx context.Context) (*queuev1.AckRunCommandResponse, error) {
			return w.opts.Queue.AckRunCommand(ctx, &queuev1.AckRunCommandRequest{WorkerId: w.opts.Identity.WorkerID, CommandId: commandID})
		})
		if err != nil {
			w.logger.Warn("command cannot be acknowledged, it will come again", "command_id", commandID, logging.KeyError, err)
		}
	})
}

// resumeExports makes the exports that are pending: after a restart, and of runs
// that the backend ended.
func (w *Worker) resumeExports(ctx context.Context) {
	for {
		exports, err := w.pendingExports(ctx)
		if err != nil && ctx.Err() == nil {
			w.logger.Warn("pending exports cannot be listed", logging.KeyError, err)
		}
		for _, e := range exports {
			job := export.Job{SessionID: e.GetSessionId(), RunID: e.GetRunId(), UserID: e.GetUserId()}
			w.startExport(job) // the exporter stops it
		}
		if !retry.Pause(ctx, jitter(exportsInterval)) {
			return
		}
	}
}

// pendingExports asks the backend which exports this worker has to make.
func (w *Worker) pendingExports(ctx context.Context) ([]*queuev1.PendingExport, error) {
	resp, err := callUntilAnswered(ctx, func(ctx context.Context) (*queuev1.ListPendingExportsResponse, error) {
		return w.opts.Queue.ListPendingExports(ctx, &queuev1.ListPendingExportsRequest{WorkerId: w.opts.Identity.WorkerID})
	})
	return resp.GetExports(), err
}

// startExport begins an export unless a run of the session is held: that one
// exports at its end. Under the lock, so that a run that is taken in meanwhile
// finds the export and supersedes it.
func (w *Worker) startExport(job export.Job) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.latest[job.SessionID] == nil {
		w.opts.Exporter.Start(job)
	}
}
