package queue

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/poco-ai/poco/db/dbgen"
	"github.com/poco-ai/poco/db/dbtype"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/backend/internal/run"
	"github.com/poco-ai/poco/services/backend/internal/session"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/backend/internal/userinput"
	"github.com/poco-ai/poco/services/internal/agents"
)

// projection derives what the tables show from a run's events.
type projection struct {
	session *store.Session
	run     *store.Run
	// attempt is the one whose events these are.
	attempt int32
	// late events are of a run that has ended: they are part of the record and
	// change nothing that goes on.
	late         bool
	inputTimeout time.Duration
	sweepBy      func(time.Time)

	uses    []dbgen.ToolExecutionUpsertUseParams
	results []dbgen.ToolExecutionUpsertResultParams
	usage   *backendv1.Usage
	end     *run.Outcome
	// lost is the end of an attempt whose run goes on.
	lost *backendv1.RunFinished
}

// apply stores one event and notes what follows from it.
func (p *projection) apply(ctx context.Context, e *executorv1.RunEvent) error {
	at := occurredAt(e)
	payload := sessionPayload(e.GetPayload())
	if p.late {
		if u := payload.GetUsageReported(); u != nil {
			p.usage = u.GetUsage()
		}
		return p.store(e.GetRunSeq(), at, payload)
	}
	var asked *backendv1.UserInputRequested
	switch kind := payload.GetKind().(type) {
	case *backendv1.EventPayload_AgentStarted:
		p.run.PromptSubmitted = true
		if id := kind.AgentStarted.GetAgentSessionId(); id != "" {
			p.session.SetAgentSession(cmp.Or(kind.AgentStarted.GetAgent(), agents.Claude), id)
		}
	case *backendv1.EventPayload_TodosChanged:
		p.run.Progress = progress(kind.TodosChanged.GetTodos())
	case *backendv1.EventPayload_UsageReported:
		p.usage = kind.UsageReported.GetUsage()
	case *backendv1.EventPayload_UserInputRequested:
		asked = kind.UserInputRequested
		asked.UserInputRequestId = userinput.ID(p.run.ID, asked.GetUserInputRequestId())
	case *backendv1.EventPayload_RunFinished:
		goesOn, err := run.Resumes(ctx, p.session, p.run, kind.RunFinished.GetReason())
		if err != nil {
			return err
		}
		if goesOn {
			p.lost = kind.RunFinished // An attempt's end that is not the run's is no event.
			return nil
		}
		if kind.RunFinished.GetUsage() != nil {
			p.usage = kind.RunFinished.GetUsage()
		}
		p.finishWith(kind.RunFinished)
	}
	if err := p.show(ctx, payload); err != nil {
		return err
	}
	if err := p.store(e.GetRunSeq(), at, payload); err != nil {
		return err
	}
	if asked != nil {
		expires := at.Add(p.inputTimeout)
		if t := asked.GetExpiresAt(); t.IsValid() && t.GetSeconds() > 0 {
			expires = t.AsTime()
		}
		p.sweepBy(expires)
		return userinput.Open(ctx, p.session, p.run.ID, at, expires, asked)
	}
	return nil
}

// store stores one event, with the calls of tools in it.
func (p *projection) store(runSeq int64, at time.Time, payload *backendv1.EventPayload) error {
	if err := p.session.Append(p.run.ID, runSeq, at, payload); err != nil {
		return err
	}
	p.run.LastRunSeq = runSeq
	if payload.GetFilesChanged() != nil {
		p.run.FilesSeq = p.session.LastSeq
	}
	if m := payload.GetMessageAdded(); m != nil {
		p.tools(m, at)
	}
	return nil
}

// show keeps in the session's state what it shows beside its messages.
func (p *projection) show(ctx context.Context, payload *backendv1.EventPayload) error {
	switch payload.GetKind().(type) {
	case *backendv1.EventPayload_AgentStarted, *backendv1.EventPayload_McpServersChanged,
		*backendv1.EventPayload_TodosChanged, *backendv1.EventPayload_FilesChanged:
	default:
		return nil
	}
	state, err := p.session.State(ctx)
	if err != nil {
		return err
	}
	switch kind := payload.GetKind().(type) {
	case *backendv1.EventPayload_AgentStarted:
		state.McpServers = kind.AgentStarted.GetMcpServers()
	case *backendv1.EventPayload_McpServersChanged:
		state.McpServers = kind.McpServersChanged.GetServers()
	case *backendv1.EventPayload_TodosChanged:
		state.Todos, state.CurrentStep = kind.TodosChanged.GetTodos(), kind.TodosChanged.GetCurrentStep()
	case *backendv1.EventPayload_FilesChanged:
		state.Files = withoutDiffs(kind.FilesChanged)
	}
	return nil
}

// finishWith notes how the run ends and makes the event say the same: a cancel
// that was committed before wins.
func (p *projection) finishWith(f *backendv1.RunFinished) {
	outcome := run.Outcome{Status: store.RunStatusText(f.GetStatus()), Reason: f.GetReason(), Message: f.GetMessage()}
	if !outcome.Status.Final() {
		outcome.Status, outcome.Reason = dbtype.RunFailed, backendv1.RunReason_RUN_REASON_AGENT_ERROR
	}
	outcome = outcome.Effective(p.run)
	f.Status, f.Reason, f.Message = store.RunStatus(outcome.Status), outcome.Reason, outcome.Message
	p.end = &outcome
}

// tools notes calls of tools and their answers. Blocks without an id are
// nobody's.
func (p *projection) tools(m *backendv1.MessageAdded, at time.Time) {
	for _, block := range m.GetBlocks() {
		switch kind := block.GetKind().(type) {
		case *backendv1.ContentBlock_ToolUse:
			if kind.ToolUse.GetId() == "" || kind.ToolUse.GetName() == "" {
				continue
			}
			p.uses = append(p.uses, dbgen.ToolExecutionUpsertUseParams{
				ID: uuid.NewString(), SessionID: p.session.ID, RunID: p.run.ID, Seq: p.session.LastSeq,
				ToolUseID: store.ToolUseID(kind.ToolUse.GetId()), ToolName: kind.ToolUse.GetName(), InputSize: int64(proto.Size(kind.ToolUse.GetInput())), CreatedAt: at,
			})
		case *backendv1.ContentBlock_ToolResult:
			if kind.ToolResult.GetToolUseId() == "" {
				continue
			}
			p.results = append(p.results, dbgen.ToolExecutionUpsertResultParams{
				ID: uuid.NewString(), SessionID: p.session.ID, RunID: p.run.ID, Seq: p.session.LastSeq,
				ToolUseID: store.ToolUseID(kind.ToolResult.GetToolUseId()), OutputSize: int64(len(kind.ToolResult.GetContent())), IsError: kind.ToolResult.GetIsError(), CreatedAt: at,
			})
		}
	}
}

// finish writes what the whole batch comes to.
func (p *projection) finish(ctx context.Context) error {
	later := p.session.Tx().Later
	for _, use := range p.uses {
		if err := later.ToolExecutionUpsertUse(ctx, use); err != nil {
			return fmt.Errorf("store calls of tools: %w", err)
		}
	}
	for _, result := range p.results {
		if err := later.ToolExecutionUpsertResult(ctx, result); err != nil {
			return fmt.Errorf("store answers of tools: %w", err)
		}
	}
	if p.usage != nil {
		if err := p.saveUsage(ctx); err != nil {
			return err
		}
	}
	if p.lost != nil {
		return run.Resume(ctx, p.session, p.run, p.lost.GetMessage())
	}
	if p.end != nil {
		return run.Finish(ctx, p.session, p.run, *p.end)
	}
	return nil
}

func (p *projection) saveUsage(ctx context.Context) error {
	detail, err := store.Marshal(p.usage)
	if err != nil {
		return err
	}
	tx := p.session.Tx()
	err = tx.Later.UsageUpsert(ctx, dbgen.UsageUpsertParams{
		RunID: p.run.ID, Attempt: p.attempt, SessionID: p.session.ID, TotalCostUsd: p.usage.GetTotalCostUsd(),
		InputTokens: p.usage.GetInputTokens(), OutputTokens: p.usage.GetOutputTokens(), Detail: detail,
	})
	if err != nil {
		return fmt.Errorf("store usage: %w", err)
	}
	rows, err := tx.Q.UsageListOfSession(ctx, p.session.ID)
	if err != nil {
		return fmt.Errorf("read usage: %w", err)
	}
	total, err := session.SumUsage(rows)
	if err != nil {
		return err
	}
	state, err := p.session.State(ctx)
	if err != nil {
		return err
	}
	state.Usage = total
	return nil
}

// withoutDiffs is what the session's state keeps of changed files, and says so:
// the diffs are in the event, and would make every list of sessions heavy.
func withoutDiffs(files *backendv1.FilesChanged) *backendv1.FilesChanged {
	if !slices.ContainsFunc(files.GetFiles(), func(f *backendv1.FileChange) bool { return f.GetDiff() != "" }) {
		return files
	}
	light := proto.CloneOf(files)
	for _, f := range light.GetFiles() {
		f.DiffTruncated = f.GetDiffTruncated() || f.GetDiff() != ""
		f.Diff = ""
	}
	return light
}

// progress is the share of to-dos that are done, in percent.
func progress(todos []*backendv1.Todo) int32 {
	if len(todos) == 0 {
		return 0
	}
	done := 0
	for _, t := range todos {
		if t.GetStatus() == backendv1.TodoStatus_TODO_STATUS_COMPLETED {
			done++
		}
	}
	return int32(done * 100 / len(todos)) //nolint:gosec // between 0 and 100
}
