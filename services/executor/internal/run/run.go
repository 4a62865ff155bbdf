// Package run executes runs: one at a time, under a lease, reporting over a
// channel.
package run

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"path"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/executor/internal/agent"
	"github.com/poco-ai/poco/services/executor/internal/outbox"
	"github.com/poco-ai/poco/services/executor/internal/workspace"
	"github.com/poco-ai/poco/services/internal/agents"
	"github.com/poco-ai/poco/services/internal/journal"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/sanitize"
)

// finishTimeout bounds what is done in the workspace after the agent's end.
const finishTimeout = 3 * time.Minute

// activeRun is a run from its start until everything about it is delivered.
type activeRun struct {
	id       string
	request  *executorv1.StartRunRequest
	settings *Settings
	outbox   *outbox.Outbox
	lease    *lease
	logger   *slog.Logger

	// ctx ends when the agent has to be killed at once; its cause says why.
	ctx    context.Context
	cancel context.CancelCauseFunc
	// worked is closed when the terminal event is in the outbox, delivered
	// when it is acknowledged or the run was revoked.
	worked, delivered chan struct{}
	// hangUp ends the channel.
	hangUp context.CancelFunc

	mu    sync.Mutex
	agent agent.Agent
	// asked is set when the agent was asked to stop, and how.
	asked *agent.Outcome
	// abandoned is set when the workspace may be somebody else's by now.
	abandoned bool
	// held is set while the agent may do nothing; see lease.
	held bool
}

func newRun(request *executorv1.StartRunRequest, settings *Settings) *activeRun {
	r := &activeRun{
		id: request.GetRunId(), request: request, settings: settings,
		outbox: outbox.New(request.GetRunId(), request.GetNextRunSeq()),
		logger: logging.OfRun(settings.Logger, request.GetRunId(), request.GetSessionId()),
		worked: make(chan struct{}), delivered: make(chan struct{}),
	}
	r.ctx, r.cancel = context.WithCancelCause(logging.WithRun(context.Background(), request.GetRunId(), request.GetSessionId()))
	r.lease = newLease(request.GetLeaseTtl().AsDuration(), r.hold, r.release, r.leaseLost)
	return r
}

// keepJournal has the events survive this process. Without a journal the run goes
// on, and says so.
func (r *activeRun) keepJournal() {
	j, err := journal.Create(r.settings.StatePath, r.id, r.request.GetAttempt(), journal.KeyOf(r.request.GetChannelToken()))
	if err != nil {
		r.journalBroken(err)
		return
	}
	r.outbox.Keep(j, r.journalBroken)
}

func (r *activeRun) journalBroken(err error) {
	r.logger.Warn("events that are not delivered cannot be kept on the disk", logging.KeyError, err)
	r.notice("events_not_kept",
		fmt.Sprintf("What this run reports is not kept on the disk until it is delivered, and would be lost with its executor: %v.", err))
}

// end asks the agent to stop; before it has started, the run just stops.
func (r *activeRun) end(outcome agent.Outcome) {
	r.mu.Lock()
	working := r.agent
	if r.asked == nil {
		r.asked = &outcome
	}
	if working == nil {
		r.cancel(&agent.StopError{Outcome: outcome})
	}
	r.mu.Unlock()
	if working != nil {
		working.End(outcome)
	}
}

// abandon kills the agent at once and leaves the workspace alone.
func (r *activeRun) abandon(outcome agent.Outcome) {
	r.mu.Lock()
	r.abandoned = true
	r.mu.Unlock()
	r.cancel(&agent.StopError{Outcome: outcome})
}

func (r *activeRun) isAbandoned() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.abandoned
}

// hold keeps the agent from working, also one that is only about to start.
func (r *activeRun) hold() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.logger.Warn("the lease ran out, holding the agent")
	r.held = true
	if r.agent != nil {
		r.agent.Hold()
	}
}

// release lets the agent go on.
func (r *activeRun) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.logger.Info("the lease was renewed, the agent goes on")
	r.held = false
	if r.agent != nil {
		r.agent.Release()
	}
}

func (r *activeRun) leaseLost() {
	r.logger.Warn("no sign of the manager, stopping the agent")
	r.abandon(agent.Failed(backendv1.RunReason_RUN_REASON_LEASE_LOST, "The manager was not heard of in time, so the agent was stopped."))
}

// execute works the run off and reports how it ended.
func (r *activeRun) execute() {
	defer close(r.worked)
	defer r.lease.stop()
	defer r.cancel(nil)
	outcome := r.work()
	if outcome.Usage == nil {
		outcome.Usage = &backendv1.Usage{Duration: durationpb.New(0)}
	}
	outcome.Message = sanitize.Text(outcome.Message)
	r.emit(&executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_UsageReported{
		UsageReported: &backendv1.UsageReported{Usage: outcome.Usage},
	}})
	r.emit(&executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_RunFinished{RunFinished: &backendv1.RunFinished{
		Status: outcome.Status, Reason: outcome.Reason, Message: outcome.Message, Usage: outcome.Usage,
	}}})
	r.outbox.Close()
	r.logger.Info("run ended", "status", outcome.Status.String(), "reason", outcome.Reason.String(), "message", outcome.Message)
}

// work prepares the workspace, runs the agent, and records what it did.
func (r *activeRun) work() agent.Outcome {
	if timeout := r.request.GetLimits().GetTimeout().AsDuration(); timeout > 0 {
		timer := time.AfterFunc(timeout, func() {
			r.end(agent.Failed(backendv1.RunReason_RUN_REASON_RUN_TIMEOUT, "The run took longer than %s.", timeout))
		})
		defer timer.Stop()
	}
	config := r.request.GetConfig()
	driver, err := r.settings.Agents.Find(agents.Of(config))
	if err != nil {
		return agent.Failed(backendv1.RunReason_RUN_REASON_CONFIG_ERROR, "%v", err)
	}
	w, err := workspace.Prepare(r.ctx, workspace.Options{
		Root: r.settings.WorkspacePath, State: r.settings.StatePath, Agent: driver.Name(), RepoURL: config.GetRepoUrl(), Branch: config.GetGitBranch(),
		Excludes: r.settings.GitIgnore, RunID: r.id, Logger: r.logger,
	})
	if err != nil {
		return r.stopped(agent.Failed(backendv1.RunReason_RUN_REASON_WORKSPACE_ERROR, "The workspace cannot be prepared: %v", err))
	}
	for _, notice := range w.Notices {
		r.notice("workspace", notice)
	}
	if err := w.AddInputs(r.request.GetEnvironment().GetFiles()); err != nil {
		return agent.Failed(backendv1.RunReason_RUN_REASON_WORKSPACE_ERROR, "The files of the run's environment could not be put into the workspace: %v", err)
	}
	if skills := r.request.GetEnvironment().GetSkills(); len(skills) > 0 {
		r.notice("skills_not_applied", fmt.Sprintf("The %d skills of the run's environment are not there for the agent: this version does not apply skills yet.", len(skills)))
	}
	task := r.task(w)
	if task.Model == "" {
		return agent.Failed(backendv1.RunReason_RUN_REASON_CONFIG_ERROR, "The task names no model for %s, and the manager has none for it (OPENAI_AGENT_MODEL).", agents.Title(driver.Name()))
	}
	submitted, err := r.findPrompt(driver, &task)
	switch {
	case err != nil:
		return agent.Failed(backendv1.RunReason_RUN_REASON_RESUME_FAILED, "The agent may have had the prompt when it was lost, and what it knows cannot be read: %v", err)
	case submitted && !r.request.GetPromptSubmitted() && config.GetLostExecutorPolicy() != backendv1.LostExecutorPolicy_LOST_EXECUTOR_POLICY_RESUME:
		return agent.Failed(backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, "The executor was lost while the agent worked. Send the prompt again to go on.")
	case submitted && task.ResumeID == "":
		return agent.Failed(backendv1.RunReason_RUN_REASON_RESUME_FAILED,
			"The agent had the prompt when it was lost, and its conversation is not known, so it cannot go on.")
	case submitted:
		task.Resumes = &agent.Resumption{PromptID: task.PromptID, Reported: setOf(r.request.GetReportedMessageIds()), Latest: r.request.GetLatestMessages()}
		task.Prompt, task.PromptID = agent.ContinuePrompt, ""
	}
	if task.ResumeID != "" && !driver.Whole(task.StateDir, task.ResumeID) {
		if submitted {
			return agent.Failed(backendv1.RunReason_RUN_REASON_RESUME_FAILED, "The agent had the prompt when it was lost, and the beginning of its conversation is gone, so it cannot go on.")
		}
		r.forget(&task, "The beginning of the conversation "+task.ResumeID+" is gone")
	}
	changes := watchChanges(r.ctx, w, r.emit, r.logger)
	outcome := r.runAgent(driver, task, &sink{run: r, workspace: w, changes: changes})
	if outcome.Reason == backendv1.RunReason_RUN_REASON_RESUME_FAILED && !submitted {
		// A run that was killed right after its start leaves the id of a
		// conversation that was never written; the session has to go on.
		r.forget(&task, outcome.Message)
		outcome = r.runAgent(driver, task, &sink{run: r, workspace: w, changes: changes})
	}
	changes.stop()
	if !r.isAbandoned() {
		for _, notice := range w.Reclaim() {
			r.notice("workspace", notice)
		}
		r.finish(changes)
	}
	return outcome
}

func setOf(ids []string) map[string]bool {
	set := make(map[string]bool, len(ids))
	for _, id := range ids {
		set[id] = true
	}
	return set
}

// forget has the agent begin a new conversation, and says so.
func (r *activeRun) forget(task *agent.Task, why string) {
	r.notice("conversation_lost", why+". The agent begins a new conversation and does not know what was said before.")
	task.ResumeID = ""
}

// findPrompt tells whether the agent has taken the run's prompt before, and in
// which conversation. An event that proves it may not have come through.
func (r *activeRun) findPrompt(driver agent.Driver, task *agent.Task) (bool, error) {
	if r.request.GetPromptSubmitted() || !r.request.GetPromptOffered() {
		return r.request.GetPromptSubmitted(), nil
	}
	conversation, err := driver.Took(task.StateDir, task.PromptID)
	if conversation != "" {
		task.ResumeID = conversation
	}
	return conversation != "", err
}

// stopped prefers the reason why the run was stopped over what that caused.
func (r *activeRun) stopped(otherwise agent.Outcome) agent.Outcome {
	if stop, ok := context.Cause(r.ctx).(*agent.StopError); ok { //nolint:errorlint // A cause is not wrapped.
		return stop.Outcome
	}
	return otherwise
}

func (r *activeRun) runAgent(driver agent.Driver, task agent.Task, s agent.Sink) agent.Outcome {
	if err := driver.Capabilities().Check(task); err != nil {
		return agent.Failed(backendv1.RunReason_RUN_REASON_CONFIG_ERROR, "%s cannot work on this: %v.", agents.Title(driver.Name()), err)
	}
	working, err := driver.New(task, s)
	if err != nil {
		return r.stopped(agent.Failed(backendv1.RunReason_RUN_REASON_AGENT_MISSING, "%v", err))
	}
	r.mu.Lock()
	if r.ctx.Err() != nil {
		r.mu.Unlock()
		return r.stopped(agent.Canceled(""))
	}
	if r.asked != nil { // An agent before this one was.
		defer r.mu.Unlock()
		return *r.asked
	}
	r.agent = working
	if r.held {
		working.Hold()
	}
	r.mu.Unlock()
	return working.Run(r.ctx)
}

// finish looks at the changes for the last time, and says what it did not see.
func (r *activeRun) finish(changes *changeWatch) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), finishTimeout)
	defer cancel()
	missing, err := changes.look(ctx)
	switch {
	case err != nil:
		r.notice("changes_unknown", fmt.Sprintf("What the run changed in the end could not be determined: %v.", err))
	case missing != "":
		r.notice("changes_incomplete", "Not all changes could be recorded: "+missing+".")
	}
}

func (r *activeRun) notice(code, text string) { r.emit(agent.Warning(code, text)) }

// task is what is asked of the agent.
func (r *activeRun) task(w *workspace.Workspace) agent.Task {
	request, config := r.request, r.request.GetConfig()
	baseURL, token, model := request.GetModelBaseUrl(), request.GetModelToken(), cmp.Or(config.GetModel(), request.GetDefaultModel())
	if agents.APIOf(agents.Of(config)) == agents.Anthropic { // which the executor's own are of
		baseURL, token = cmp.Or(baseURL, r.settings.ModelBaseURL), cmp.Or(token, r.settings.ModelToken.Reveal())
		model = cmp.Or(model, r.settings.DefaultModel)
	}
	return agent.Task{
		Dir: w.Dir, StateDir: w.AgentDir, HomeDir: w.HomeDir,
		BaseURL: baseURL, Token: token, Model: model,
		PermissionMode: config.GetPermissionMode(), ResumeID: request.GetAgentSessionId(),
		Prompt: prompt(request, w.InputsDir()), PromptID: r.id, Environment: request.GetEnvironment(), MaxTurns: config.GetMaxTurns(),
		MaxCostUSD: request.GetLimits().GetMaxCostUsd(), MaxTokens: request.GetLimits().GetMaxTokens(),
		IdleTimeout:       request.GetLimits().GetIdleTimeout().AsDuration(),
		BackgroundTimeout: request.GetLimits().GetBackgroundTimeout().AsDuration(),
		UserInputTimeout:  request.GetLimits().GetUserInputTimeout().AsDuration(),
	}
}

// prompt is what the agent is told: the user's prompt, after a list of the
// files that came with it. inputs is where those are.
func prompt(request *executorv1.StartRunRequest, inputs string) string {
	var names []string
	for _, f := range request.GetConfig().GetInputFiles() {
		names = append(names, cmp.Or(f.GetPath(), f.GetName()))
	}
	for _, f := range request.GetEnvironment().GetFiles() {
		names = append(names, f.GetPath())
	}
	if len(names) == 0 {
		return request.GetPrompt()
	}
	var b strings.Builder
	b.WriteString("The user added these inputs. Do not modify them unless asked:\n")
	for _, name := range names {
		fmt.Fprintf(&b, "- %s\n", path.Join(inputs, path.Clean("/"+name)))
	}
	return b.String() + "\n" + request.GetPrompt()
}

func (r *activeRun) emit(payload *executorv1.RunEventPayload) { r.outbox.Append(payload) }

// sink takes what the agent does. It implements agent.Sink.
type sink struct {
	run       *activeRun
	workspace *workspace.Workspace
	changes   *changeWatch
}

func (s *sink) Emit(payload *executorv1.RunEventPayload) {
	cut(payload, s.run.request.GetLimits().GetMaxEventBytes(), s.workspace.SaveToolResult)
	s.run.emit(payload)
}

func (s *sink) Partial(p *backendv1.PartialContent) { s.run.outbox.Partial(p) }
func (s *sink) FilesMayHaveChanged()                { s.changes.mayHaveChanged() }
func (s *sink) Room() <-chan struct{}               { return s.run.outbox.Room() }

// The methods of channel.Run.

// Renew implements channel.Run.
func (r *activeRun) Renew(ttl time.Duration) {
	r.settings.contact()
	r.lease.renew(ttl)
}

// MayReport implements channel.Run.
func (r *activeRun) MayReport() bool { return r.lease.mayReport() }

// Revoked implements channel.Run.
func (r *activeRun) Revoked(reason string) {
	r.abandon(agent.Failed(backendv1.RunReason_RUN_REASON_LEASE_LOST, "The run is no longer this executor's: %s", reason))
}

// Command implements channel.Run.
func (r *activeRun) Command(_ context.Context, command *queuev1.RunCommand) {
	switch kind := command.GetKind().(type) {
	case *queuev1.RunCommand_Cancel:
		r.end(agent.Canceled(kind.Cancel.GetReason()))
	case *queuev1.RunCommand_Answer:
		r.mu.Lock()
		working := r.agent
		r.mu.Unlock()
		switch {
		case working == nil:
		case kind.Answer.GetStatus() == backendv1.UserInputStatus_USER_INPUT_STATUS_EXPIRED,
			kind.Answer.GetStatus() == backendv1.UserInputStatus_USER_INPUT_STATUS_CANCELED:
			working.Decline(kind.Answer.GetUserInputRequestId())
		default:
			working.Answer(kind.Answer.GetUserInputRequestId(), kind.Answer.GetAnswers())
		}
	}
}
