package worker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/internal/agents"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/retry"
	"github.com/poco-ai/poco/services/internal/rpcerror"
	"github.com/poco-ai/poco/services/manager/internal/runtime"
	"github.com/poco-ai/poco/services/manager/internal/workspace"
)

const (
	// startRunTimeout bounds handing a run to its executor, which answers at once.
	startRunTimeout = 15 * time.Second
	startRunTries   = 4
)

// start brings a claimed run to the point where its executor has accepted it.
// ok is false when it ended before.
func (r *heldRun) start(ctx context.Context) (outcome, bool) {
	preparing, done := r.beginPreparation(ctx)
	environment, end, ok := r.prepare(preparing)
	// From here on a cancel goes to the executor.
	if cause := done(); cause != nil {
		return r.prepareEnded(cause), false
	}
	if !ok {
		return end, false
	}
	// Not interrupted by a stop of the manager: the backend has the run as
	// started, so it had better be.
	starting, cancel := context.WithTimeout(context.WithoutCancel(ctx), startRunTimeout)
	defer cancel()
	r.handedOver = true
	if err := r.handOver(starting, environment); err != nil {
		return handOverFailed(err), false
	}
	r.w.metrics.startTime.Observe(r.w.now().Sub(r.claimedAt).Seconds())
	r.logger.Info("run started", logging.KeyExecutorID, r.executor.ID, "duration", r.w.now().Sub(r.claimedAt))
	return outcome{}, true
}

// beginPreparation returns a context that ends with a cancel of the run, with
// its lease, or with the manager. done ends the preparation and tells the
// cause when it was cut short.
func (r *heldRun) beginPreparation(ctx context.Context) (preparing context.Context, done func() error) {
	preparing, interrupt := context.WithCancelCause(ctx)
	stopLink := context.AfterFunc(r.link.Context(), func() { interrupt(errReleased) })
	r.mu.Lock()
	defer r.mu.Unlock()
	r.interrupt = interrupt
	if r.canceled {
		interrupt(errCanceled)
	}
	return preparing, func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.interrupt = nil
		stopLink()
		cause := context.Cause(preparing)
		interrupt(nil)
		return cause
	}
}

// prepareEnded is the end of a run whose preparation was cut short.
func (r *heldRun) prepareEnded(cause error) outcome {
	switch {
	case errors.Is(cause, errCanceled):
		return canceled("")
	case errors.Is(cause, errReleased):
		return r.linkEnded()
	default:
		// Claimed, and maybe just started: the agent has not seen the prompt.
		return outcome{kind: outcomeLeft}
	}
}

// prepare makes the workspace ready, launches the executor, and tells the
// backend that the run starts.
func (r *heldRun) prepare(ctx context.Context) (environment *executorv1.RunEnvironment, end outcome, ok bool) {
	if r.after != nil {
		select {
		case <-r.after.released:
		case <-ctx.Done():
			return nil, outcome{}, false
		}
		r.after = nil
	}
	if err := r.whileEngineIsAway(ctx, func() error { return r.w.clear(ctx, r.sessionID, r.logger) }); err != nil {
		return nil, launchFailed(err), false
	}
	if err := r.w.opts.Exporter.Supersede(ctx, r.sessionID); err != nil {
		return nil, outcome{}, false
	}
	if end, ok := r.restore(ctx); !ok {
		return nil, end, false
	}
	folders, err := r.w.opts.Workspaces.Prepare(r.userID, r.sessionID, r.id)
	if err != nil {
		return nil, failed(backendv1.RunReason_RUN_REASON_WORKSPACE_ERROR, "The workspace could not be prepared: %v", err), false
	}
	r.exports = true
	inputs, err := r.w.opts.Workspaces.StageInputs(ctx, r.userID, r.sessionID, r.w.opts.Web, r.claim.GetConfig().GetInputFiles())
	if err != nil {
		return nil, failed(backendv1.RunReason_RUN_REASON_WORKSPACE_ERROR, "The input files could not be put into the workspace: %v", err), false
	}
	if len(inputs) > 0 {
		r.claim.GetConfig().InputFiles = inputs // with the names that the agent finds
	}
	// The backend answers while the executor starts. It has the run as started
	// only once there is an executor that a restarted manager would find.
	var resolving sync.WaitGroup
	var resolveErr error
	resolving.Go(func() { environment, resolveErr = r.resolveConfig(ctx) })
	var executor runtime.Executor
	there := false
	launched := func() {
		there = true
		resolving.Wait()
		if resolveErr == nil {
			end, ok = r.declareStarted(ctx)
		}
		if ok {
			end, ok = r.recoverBefore(ctx)
			r.w.recoverEnded(ctx, r.userID, r.sessionID, nil, r.logger)
		}
	}
	var launchErr error
	_ = r.whileEngineIsAway(ctx, func() error { // launchErr is what it returns
		if executor, launchErr = r.launch(ctx, folders, launched); there {
			return nil // It was made: not another one.
		}
		return launchErr
	})
	err = launchErr
	if err == nil {
		r.executor = &executor
	}
	resolving.Wait()
	switch {
	case err != nil:
		return nil, launchFailed(err), false
	case resolveErr != nil:
		return nil, failed(backendv1.RunReason_RUN_REASON_CONFIG_ERROR, "The run's configuration could not be resolved: %v", status.Convert(resolveErr).Message()), false
	}
	return environment, end, ok
}

// whileEngineIsAway makes a call again while the container engine does not answer:
// it may have been restarted, which takes seconds.
func (r *heldRun) whileEngineIsAway(ctx context.Context, call func() error) error {
	ctx, cancel := context.WithTimeout(ctx, r.w.opts.EnginePatience)
	defer cancel()
	wait := newBackOff()
	for {
		err := call()
		if !errors.Is(err, runtime.ErrEngineUnavailable) || !retry.Pause(ctx, wait.NextBackOff()) {
			return err
		}
	}
}

func (r *heldRun) resolveConfig(ctx context.Context) (*executorv1.RunEnvironment, error) {
	resp, err := callUntilAnswered(ctx, func(ctx context.Context) (*queuev1.ResolveRunConfigResponse, error) {
		return r.w.opts.Queue.ResolveRunConfig(ctx, &queuev1.ResolveRunConfigRequest{RunId: r.id, FencingToken: r.claim.GetFencingToken()})
	})
	if status.Code(err) == codes.Unimplemented {
		err = nil // a backend without user configuration
	}
	return resp.GetEnvironment(), err
}

// launch reuses the session's persistent executor, or starts a new one. It
// calls launched once there is an executor, ready or not.
func (r *heldRun) launch(ctx context.Context, folders workspace.Folders, launched func()) (runtime.Executor, error) {
	if e, ok := r.w.takeIdle(r.sessionID); ok {
		if r.mode() == runtime.ModePersistent && r.w.isIdle(ctx, e) {
			launched()
			return e, nil
		}
		if err := r.w.stopExecutor(ctx, e.ID, r.logger); err != nil {
			return runtime.Executor{}, err
		}
	}
	// What cannot be found out now is no reason to refuse the run: launching
	// tells what is wrong with the engine.
	if err := r.reached(ctx); errors.Is(err, runtime.ErrUnreachable) {
		return runtime.Executor{}, err
	}
	id := uuid.NewString()
	return r.w.opts.Runtime.Launch(ctx, runtime.Spec{
		ExecutorID: id, RunID: r.id, Attempt: r.attempt().Number, SessionID: r.sessionID, UserID: r.userID,
		WorkspaceDir: folders.Workspace, StateDir: folders.State, Mode: r.mode(), Token: r.w.opts.Identity.ExecutorToken(id),
		Env: r.w.opts.ExecutorEnv(), Launched: launched,
	})
}

func (r *heldRun) reached(ctx context.Context) error {
	if r.w.opts.Reached == nil {
		return nil
	}
	return r.w.opts.Reached(ctx)
}

func (r *heldRun) mode() runtime.Mode {
	if r.claim.GetConfig().GetContainerMode() == backendv1.ContainerMode_CONTAINER_MODE_PERSISTENT {
		return runtime.ModePersistent
	}
	return runtime.ModeEphemeral
}

// declareStarted tells the backend that the agent may see the prompt from now
// on.
func (r *heldRun) declareStarted(ctx context.Context) (outcome, bool) {
	_, err := callUntilAnswered(ctx, func(ctx context.Context) (*queuev1.StartRunResponse, error) {
		return r.w.opts.Queue.StartRun(ctx, &queuev1.StartRunRequest{RunId: r.id, FencingToken: r.claim.GetFencingToken()})
	})
	switch {
	case err == nil:
		return outcome{}, true
	case rpcerror.Reason(err) == backendv1.ErrorReason_ERROR_REASON_RUN_CANCELED:
		return canceled(""), false
	case notOurs(err):
		return outcome{kind: outcomeLost, message: err.Error()}, false
	default:
		return failed(backendv1.RunReason_RUN_REASON_EXECUTOR_START_FAILED, "The backend did not let the run start: %s", status.Convert(err).Message()), false
	}
}

// handOver gives the run to its executor. It is safe to repeat.
func (r *heldRun) handOver(ctx context.Context, environment *executorv1.RunEnvironment) error {
	client, closeClient, err := r.dial()
	if err != nil {
		return err
	}
	defer closeClient()
	name := agents.Of(r.claim.GetConfig())
	model := r.w.opts.Model(name)
	req := &executorv1.StartRunRequest{
		RunId: r.id, Attempt: r.attempt().Number, SessionId: r.sessionID, Prompt: r.claim.GetPrompt(), Config: r.claim.GetConfig(),
		AgentSessionId: r.claim.GetAgentSessionId(), NextRunSeq: max(1, r.claim.GetNextRunSeq()),
		ChannelUrl: r.w.opts.CallbackURL, ChannelToken: r.w.opts.Identity.ChannelToken(r.attempt()),
		Limits: limits(r.w.opts.RunConfig, r.claim.GetConfig()), Environment: environment, PromptSubmitted: r.claim.GetPromptSubmitted(), PromptOffered: r.claim.GetPromptOffered(),
		ReportedMessageIds: r.claim.GetReportedMessageIds(), LatestMessages: r.claim.GetLatestMessages(),
		ModelBaseUrl: model.URL, ModelToken: r.w.opts.Identity.ModelToken(agents.APIOf(name), r.attempt()), DefaultModel: model.Default,
	}
	wait := newBackOff()
	for try := 1; ; try++ {
		// It may have run out while the backend was away; that one is back.
		r.link.AwaitHeld(ctx)
		ttl := r.link.LeaseDeadline().Sub(r.w.now())
		if ttl <= 0 {
			return errors.New("the lease ran out and was not renewed")
		}
		req.LeaseTtl = durationpb.New(ttl)
		_, err := client.StartRun(ctx, req)
		if err == nil {
			return nil
		}
		if status.Code(err) != codes.Unavailable || try == startRunTries || !retry.Pause(ctx, wait.NextBackOff()) {
			return err
		}
	}
}

func (r *heldRun) dial() (ExecutorClient, func(), error) {
	return r.w.dial(*r.executor, r.logger)
}
