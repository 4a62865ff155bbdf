package session

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/poco-ai/poco/db/dbgen"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/backend/internal/page"
	"github.com/poco-ai/poco/services/backend/internal/run"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/backend/internal/updatemask"
	"github.com/poco-ai/poco/services/internal/pagesize"
	"github.com/poco-ai/poco/services/internal/rpcerror"
	"github.com/poco-ai/poco/services/internal/sanitize"
)

// Sessions is what users do with sessions.
type Sessions struct {
	store  *store.Store
	tokens *page.Tokens
}

// New returns the sessions on a store.
func New(st *store.Store, tokens *page.Tokens) *Sessions { return &Sessions{store: st, tokens: tokens} }

// Lock locks a session of a user in a transaction.
func Lock(ctx context.Context, tx *store.Tx, userID, id string) (*store.Session, error) {
	s, err := tx.LockSession(ctx, id)
	if store.IsNotFound(err) || (err == nil && (s.UserID != userID || s.DeletedAt != nil)) {
		return nil, rpcerror.NotFound("session", id)
	}
	return s, err
}

// CheckProject returns a project's id when it is the user's; nil for none.
func CheckProject(ctx context.Context, q *dbgen.Queries, userID, projectID string) (*string, error) {
	if projectID == "" {
		return nil, nil
	}
	exists, err := q.ProjectExists(ctx, projectID, userID)
	if err != nil {
		return nil, fmt.Errorf("read project: %w", err)
	}
	if !exists {
		return nil, rpcerror.NotFound("project", projectID)
	}
	return &projectID, nil
}

// Create makes an empty session.
func (s *Sessions) Create(ctx context.Context, userID string, req *backendv1.CreateSessionRequest) (*backendv1.Session, error) {
	if len(req.GetConfig().GetInputFiles()) > 0 {
		return nil, rpcerror.InvalidArgument("config.input_files", "belong to a run: send them with the prompt that needs them, by EnqueueTask")
	}
	sanitize.Message(req)
	var id string
	err := s.store.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		projectID, err := CheckProject(ctx, tx.Q, userID, req.GetProjectId())
		if err != nil {
			return err
		}
		kept, _, err := MergeConfig(&backendv1.TaskConfig{}, req.GetConfig())
		if err != nil {
			return err
		}
		row, err := tx.NewSession(ctx, userID, projectID, req.GetTitle(), kept)
		if err != nil {
			return err
		}
		id = row.ID
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("create session: %w", err)
	}
	return s.Get(ctx, userID, id)
}

// Get returns a session of a user.
func (s *Sessions) Get(ctx context.Context, userID, id string) (*backendv1.Session, error) {
	row, err := s.store.OwnedSession(ctx, userID, id)
	if err != nil {
		return nil, err
	}
	content, err := s.store.Read().SessionContentGet(ctx, row.ID)
	if err != nil {
		return nil, fmt.Errorf("read the session's contents: %w", err)
	}
	return Proto(&row, &content)
}

// List lists a user's sessions, newest first.
func (s *Sessions) List(ctx context.Context, userID string, req *backendv1.ListSessionsRequest) (*backendv1.ListSessionsResponse, error) {
	list := "sessions/" + userID + "/" + req.GetProjectId()
	key, err := s.tokens.Decode(list, req.GetPageToken(), page.Newest)
	if err != nil {
		return nil, err
	}
	size, full := pagesize.Usual.Of(req.GetPageSize()), req.GetView() == backendv1.SessionView_SESSION_VIEW_FULL
	var rows []dbgen.SessionListRow
	if project := req.GetProjectId(); project == "" {
		rows, err = s.store.Read().SessionList(ctx, dbgen.SessionListParams{
			UserID: userID, BeforeCreatedAt: key.Time, BeforeID: key.ID, PageLimit: size + 1,
			WithContents: full, MaxBytes: page.MaxBytes,
		})
	} else {
		var ofProject []dbgen.SessionListOfProjectRow
		ofProject, err = s.store.Read().SessionListOfProject(ctx, dbgen.SessionListOfProjectParams{
			UserID: userID, ProjectID: project, BeforeCreatedAt: key.Time, BeforeID: key.ID, PageLimit: size + 1,
			WithContents: full, MaxBytes: page.MaxBytes,
		})
		for _, row := range ofProject {
			rows = append(rows, dbgen.SessionListRow(row))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	resp := &backendv1.ListSessionsResponse{}
	var more bool
	resp.Sessions, more, err = page.Fill(rows, size, func(row *dbgen.SessionListRow) (*backendv1.Session, error) {
		if !full {
			return Basic(&row.Session), nil
		}
		return Proto(&row.Session, &dbgen.SessionContent{SessionID: row.Session.ID, Config: row.Config, State: row.State})
	})
	more = more || len(rows) > 0 && int64(len(rows)) < rows[0].Candidates
	if err == nil && more {
		last := rows[len(resp.GetSessions())-1].Session
		resp.NextPageToken, err = s.tokens.Encode(list, page.Key{Time: last.CreatedAt, ID: last.ID})
	}
	return resp, err
}

// change changes a user's locked session and returns it as it is then.
func (s *Sessions) change(ctx context.Context, userID, id string, fn func(ctx context.Context, row *store.Session) error) (*backendv1.Session, error) {
	err := s.store.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		row, err := Lock(ctx, tx, userID, id)
		if err != nil {
			return err
		}
		return fn(ctx, row)
	})
	if err != nil {
		return nil, err
	}
	return s.Get(ctx, userID, id)
}

// Update changes the fields that the mask names: title, project.
func (s *Sessions) Update(ctx context.Context, userID string, req *backendv1.UpdateSessionRequest) (*backendv1.Session, error) {
	fields, err := updatemask.Fields(req, req.GetUpdateMask(), "title", "project_id")
	if err != nil {
		return nil, err
	}
	sanitize.Message(req)
	return s.change(ctx, userID, req.GetSessionId(), func(ctx context.Context, row *store.Session) error {
		if slices.Contains(fields, "title") {
			row.Title = req.GetTitle()
		}
		if slices.Contains(fields, "project_id") {
			projectID, err := CheckProject(ctx, row.Tx().Q, userID, req.GetProjectId())
			if err != nil {
				return err
			}
			row.ProjectID = projectID
		}
		row.Changed()
		return row.Emit("", &backendv1.EventPayload{Kind: &backendv1.EventPayload_SessionUpdated{
			SessionUpdated: &backendv1.SessionUpdated{Title: row.Title, ProjectId: value(row.ProjectID)},
		}})
	})
}

// Delete hides a session, cancels its runs, and has it purged.
func (s *Sessions) Delete(ctx context.Context, userID, id string) error {
	err := s.store.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		row, err := Lock(ctx, tx, userID, id)
		if err != nil {
			return err
		}
		return Remove(ctx, row, "The session was deleted.")
	})
	if err != nil {
		return fmt.Errorf("delete session: %w", err)
	}
	return nil
}

// Remove deletes a locked session: nobody sees it from here on, its runs are
// canceled for the reason given, and the purger has to make an end of it.
func Remove(ctx context.Context, row *store.Session, reason string) error {
	if _, err := cancelAll(ctx, row, reason); err != nil {
		return err
	}
	if err := row.Tx().Q.DeletedSessionInsert(ctx, row.ID, row.UserID); err != nil {
		return fmt.Errorf("note the deleted session: %w", err)
	}
	now := store.Now()
	row.DeletedAt = &now
	row.Changed()
	return nil
}

// Cancel cancels all queued and active runs of a session.
func (s *Sessions) Cancel(ctx context.Context, userID, id, message string) (*backendv1.Session, []string, error) {
	var canceled []string
	p, err := s.change(ctx, userID, id, func(ctx context.Context, row *store.Session) (err error) {
		canceled, err = cancelAll(ctx, row, sanitize.Text(message))
		return err
	})
	return p, canceled, err
}

// cancelAll cancels the queued runs first: so none of them can follow the
// active one.
func cancelAll(ctx context.Context, s *store.Session, message string) ([]string, error) {
	tx := s.Tx()
	queued, err := tx.Q.RunLockQueued(ctx, s.ID)
	if err != nil {
		return nil, fmt.Errorf("lock queued runs: %w", err)
	}
	var canceled []string
	for i := range queued {
		if _, err := run.Cancel(ctx, s, &queued[i], message); err != nil {
			return nil, err
		}
		canceled = append(canceled, queued[i].ID)
	}
	if s.ActiveRunID == nil {
		return canceled, nil
	}
	active, _, err := tx.LockRun(ctx, *s.ActiveRunID)
	if err != nil {
		return nil, err
	}
	changed, err := run.Cancel(ctx, s, active, message)
	if err != nil {
		return nil, err
	}
	if changed {
		canceled = append(canceled, active.ID)
	}
	return canceled, nil
}

// RetryExport asks the worker that has the workspace to export it again.
func (s *Sessions) RetryExport(ctx context.Context, userID, id string) (*backendv1.Session, error) {
	return s.change(ctx, userID, id, func(ctx context.Context, row *store.Session) error {
		switch {
		case row.ActiveRunID != nil || row.ExportStatus == store.ExportPending:
			return rpcerror.FailedPrecondition(backendv1.ErrorReason_ERROR_REASON_EXPORT_PENDING, "an export is under way, or follows the run that is active", nil)
		case row.ExportStatus == "" || row.ExportRunID == nil || row.WorkerID == nil:
			return rpcerror.FailedPrecondition(backendv1.ErrorReason_ERROR_REASON_EXPORT_NOT_READY, "no run of the session has ended yet", nil)
		}
		row.ExportStatus, row.ExportReason = store.ExportPending, ""
		row.Changed()
		err := row.Command(ctx, row.WorkerID, *row.ExportRunID, store.CommandExport, &queuev1.RunCommand{Kind: &queuev1.RunCommand_Export{Export: &queuev1.ExportCommand{}}})
		if err != nil {
			return err
		}
		return row.Emit(*row.ExportRunID, run.ExportChanged(row))
	})
}

// Usage sums up what a session's runs consumed.
func (s *Sessions) Usage(ctx context.Context, userID, id string) (*backendv1.Usage, error) {
	row, err := s.store.OwnedSession(ctx, userID, id)
	if err != nil {
		return nil, err
	}
	rows, err := s.store.Read().UsageListOfSession(ctx, row.ID)
	if err != nil {
		return nil, fmt.Errorf("read usage: %w", err)
	}
	return SumUsage(rows)
}

// Messages lists a session's conversation, oldest first.
func (s *Sessions) Messages(ctx context.Context, userID string, req *backendv1.ListMessagesRequest) (*backendv1.ListMessagesResponse, error) {
	row, err := s.store.OwnedSession(ctx, userID, req.GetSessionId())
	if err != nil {
		return nil, err
	}
	list := fmt.Sprintf("messages/%s/%t", row.ID, req.GetIncludeVerbatim())
	key, err := s.tokens.Decode(list, req.GetPageToken(), page.Key{})
	if err != nil {
		return nil, err
	}
	size := pagesize.Long.Of(req.GetPageSize())
	rows, err := s.store.Read().MessageList(ctx, dbgen.MessageListParams{
		SessionID: row.ID, AfterSeq: key.Seq, PageLimit: size, IncludeVerbatim: req.GetIncludeVerbatim(), MaxBytes: page.MaxBytes,
	})
	if err != nil {
		return nil, fmt.Errorf("list messages: %w", err)
	}
	resp := &backendv1.ListMessagesResponse{}
	for _, m := range rows {
		p, err := message(row.ID, m, req.GetIncludeVerbatim())
		if err != nil {
			return nil, err
		}
		resp.Messages = append(resp.Messages, p)
	}
	if len(rows) == 0 {
		return resp, nil
	}
	last := rows[len(rows)-1].Seq
	more, err := s.store.Read().MessageExistsAfter(ctx, row.ID, last)
	if err == nil && more {
		resp.NextPageToken, err = s.tokens.Encode(list, page.Key{Seq: last})
	}
	return resp, err
}

func message(sessionID string, row dbgen.MessageListRow, verbatim bool) (*backendv1.Message, error) {
	payload, err := store.DecodePayload(row.Payload)
	if err != nil {
		return nil, fmt.Errorf("decode message %d of session %s: %w", row.Seq, sessionID, err)
	}
	m := &backendv1.Message{
		Id: row.ID, SessionId: sessionID, RunId: value(row.RunID), Seq: row.Seq, Role: store.Role(row.Role),
		Blocks: payload.GetMessageAdded().GetBlocks(), TextPreview: row.TextPreview, CreatedAt: timestamppb.New(row.CreatedAt),
	}
	if verbatim {
		m.VerbatimJson = payload.GetMessageAdded().GetVerbatimJson()
	}
	return m, nil
}

// ToolExecutions lists calls of tools, oldest first.
func (s *Sessions) ToolExecutions(ctx context.Context, userID string, req *backendv1.ListToolExecutionsRequest) (*backendv1.ListToolExecutionsResponse, error) {
	row, err := s.store.OwnedSession(ctx, userID, req.GetSessionId())
	if err != nil {
		return nil, err
	}
	list := "tools/" + row.ID + "/" + req.GetRunId()
	key, err := s.tokens.Decode(list, req.GetPageToken(), page.Oldest)
	if err != nil {
		return nil, err
	}
	p := dbgen.ToolExecutionListParams{
		SessionID: row.ID, AfterSeq: key.Seq, AfterID: key.ID, PageLimit: pagesize.Long.Of(req.GetPageSize()), MaxBytes: page.MaxBytes,
	}
	if id := req.GetRunId(); id != "" {
		p.RunID = &id
	}
	rows, err := s.store.Read().ToolExecutionList(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("list tool executions: %w", err)
	}
	resp := &backendv1.ListToolExecutionsResponse{}
	if len(rows) == 0 {
		return resp, nil
	}
	for i := range rows {
		resp.ToolExecutions = append(resp.ToolExecutions, toolExecution(&rows[i]))
	}
	if err := s.fillTools(ctx, row.ID, rows, resp.GetToolExecutions()); err != nil {
		return nil, err
	}
	last := rows[len(rows)-1]
	p.AfterSeq, p.AfterID, p.PageLimit = last.Seq, last.ID, 1
	more, err := s.store.Read().ToolExecutionList(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("look for more tool executions: %w", err)
	}
	if len(more) > 0 {
		resp.NextPageToken, err = s.tokens.Encode(list, page.Key{Seq: last.Seq, ID: last.ID})
	}
	return resp, err
}
