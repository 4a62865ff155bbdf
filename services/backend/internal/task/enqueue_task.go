// Package task is poco.backend.v1.TaskService: it takes prompts into the queue.
package task

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/poco-ai/poco/db/dbgen"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/gen/go/poco/backend/v1/backendv1connect"
	"github.com/poco-ai/poco/services/backend/internal/run"
	"github.com/poco-ai/poco/services/backend/internal/session"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/rpcerror"
	"github.com/poco-ai/poco/services/internal/sanitize"
)

const (
	// maxTitleRunes bounds a title that is taken from a prompt.
	maxTitleRunes = 80
	// clientRequestIndex is the unique index behind client_request_id.
	clientRequestIndex = "runs_client_request"
)

var _ backendv1connect.TaskServiceHandler = (*Service)(nil)

// Service is poco.backend.v1.TaskService.
type Service struct {
	store *store.Store
	due   func(time.Time)
}

// New returns the service on a store; due is told when a later run may start.
func New(st *store.Store, due func(time.Time)) *Service { return &Service{store: st, due: due} }

// EnqueueTask queues a prompt as a run, in a new session or a given one. The same
// client_request_id with the same body gets the same answer, however often and
// from wherever it is sent at once; without its session when that has been purged
// since.
func (t *Service) EnqueueTask(ctx context.Context, req *backendv1.EnqueueTaskRequest) (*backendv1.EnqueueTaskResponse, error) {
	userID := auth.User(ctx)
	hash, err := bodyHash(req)
	if err != nil {
		return nil, err
	}
	sanitize.Message(req)
	prompt := strings.TrimSpace(req.GetPrompt())
	if prompt == "" {
		return nil, rpcerror.InvalidArgument("prompt", "must not be empty")
	}
	when, err := schedule(req)
	if err != nil {
		return nil, err
	}
	if err := session.CheckInputFiles(userID, req.GetConfig().GetInputFiles()); err != nil {
		return nil, err
	}
	if found, err := t.find(ctx, userID, req.GetClientRequestId(), hash); err != nil || found != nil {
		return found, err
	}
	var locked *store.Session
	var queued *store.Run
	err = t.store.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		s, cfg, err := openSession(ctx, tx, userID, prompt, req)
		if err != nil {
			return err
		}
		r, err := insertRun(ctx, tx, s, cfg, prompt, when, req.GetClientRequestId(), hash)
		if err != nil {
			return err
		}
		if err := run.Enqueue(ctx, s, r); err != nil {
			return err
		}
		locked, queued = s, r
		return s.Emit(r.ID, userMessage(prompt))
	})
	if store.IsDuplicate(err, clientRequestIndex) {
		// The same request came in twice at once, and the other one was first.
		return t.find(ctx, userID, req.GetClientRequestId(), hash)
	}
	if err != nil {
		return nil, fmt.Errorf("enqueue: %w", err)
	}
	if when.at != nil {
		t.due(*when.at)
	}
	whole, err := session.Saved(ctx, locked)
	if err != nil {
		return nil, err
	}
	return answer(run.Proto(&queued.Run), whole), nil
}

// answer is the response for a run, and its session where there is one.
func answer(r *backendv1.Run, session *backendv1.Session) *backendv1.EnqueueTaskResponse {
	return &backendv1.EnqueueTaskResponse{
		SessionId: r.GetSessionId(), RunId: r.GetId(), Status: backendv1.RunStatus_RUN_STATUS_QUEUED, Session: session, Run: r,
	}
}

// find returns the answer that a client_request_id has already got; nil for none.
func (t *Service) find(ctx context.Context, userID, clientRequestID string, hash []byte) (*backendv1.EnqueueTaskResponse, error) {
	if clientRequestID == "" {
		return nil, nil
	}
	row, err := t.store.Read().RunGetByClientRequest(ctx, userID, clientRequestID)
	if store.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for the client's request: %w", err)
	}
	if !bytes.Equal(row.RequestHash, hash) {
		return nil, rpcerror.AlreadyExists(backendv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_MISMATCH, "client_request_id was used before with another request")
	}
	sessions, err := t.store.Read().SessionGetMany(ctx, []string{row.SessionID}, userID)
	if err != nil {
		return nil, fmt.Errorf("read the session of the client's request: %w", err)
	}
	found := answer(run.Proto(&row), nil)
	for i := range sessions {
		if found.Session, err = session.Proto(&sessions[i].Session, &sessions[i].SessionContent); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// bodyHash identifies what a request asks for, its id aside.
func bodyHash(req *backendv1.EnqueueTaskRequest) ([]byte, error) {
	body := proto.CloneOf(req)
	body.ClientRequestId = ""
	raw, err := store.Marshal(body)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(raw)
	return sum[:], nil
}

type timing struct {
	mode string
	// at is nil for now.
	at *time.Time
}

func schedule(req *backendv1.EnqueueTaskRequest) (timing, error) {
	when := timing{mode: req.GetScheduleMode()}
	if when.mode == "" {
		when.mode = run.ModeImmediate
	}
	if at := req.GetScheduledAt(); at != nil {
		if !at.IsValid() {
			return when, rpcerror.InvalidArgument("scheduled_at", "must be a valid time")
		}
		t := at.AsTime().Truncate(time.Microsecond)
		when.at = &t
	}
	switch {
	case !slices.Contains(run.Modes, when.mode):
		return when, rpcerror.InvalidArgument("schedule_mode",
			fmt.Sprintf("%q is served by nobody, so the run would wait for ever; use one of: %s", when.mode, strings.Join(run.Modes, ", ")))
	case when.mode == run.ModeScheduled && when.at == nil:
		return when, rpcerror.InvalidArgument("scheduled_at", `is required with schedule_mode "scheduled"`)
	case when.mode == run.ModeImmediate && when.at != nil:
		when.mode = run.ModeScheduled
	}
	return when, nil
}

// openSession locks the given session or makes a new one, and returns it with
// the config of the run.
func openSession(ctx context.Context, tx *store.Tx, userID, prompt string, req *backendv1.EnqueueTaskRequest) (*store.Session, *backendv1.TaskConfig, error) {
	if req.GetSessionId() == "" {
		projectID, err := session.CheckProject(ctx, tx.Q, userID, req.GetProjectId())
		if err != nil {
			return nil, nil, err
		}
		kept, cfg, err := session.MergeConfig(&backendv1.TaskConfig{}, req.GetConfig())
		if err != nil {
			return nil, nil, err
		}
		s, err := tx.NewSession(ctx, userID, projectID, title(prompt), kept)
		return s, cfg, err
	}
	s, err := session.Lock(ctx, tx, userID, req.GetSessionId())
	if err != nil {
		return nil, nil, err
	}
	if id := req.GetProjectId(); id != "" && (s.ProjectID == nil || *s.ProjectID != id) {
		return nil, nil, rpcerror.InvalidArgument("project_id", "must be the session's own project, or left out")
	}
	base, err := s.Config(ctx)
	if err != nil {
		return nil, nil, err
	}
	if s.WorkerID != nil && req.GetConfig() != nil {
		if err := session.CheckBranch(base, req.GetConfig()); err != nil {
			return nil, nil, err
		}
	}
	kept, cfg, err := session.MergeConfig(base, req.GetConfig())
	if err != nil {
		return nil, nil, err
	}
	if err := s.SetConfig(ctx, kept); err != nil {
		return nil, nil, err
	}
	if s.Title == "" {
		s.Title = title(prompt)
	}
	return s, cfg, nil
}

func insertRun(ctx context.Context, tx *store.Tx, s *store.Session, cfg *backendv1.TaskConfig, prompt string, when timing, clientRequestID string, hash []byte) (*store.Run, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("make a run id: %w", err)
	}
	config, err := store.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	p := dbgen.RunInsertParams{
		ID: id.String(), SessionID: s.ID, UserID: s.UserID, ScheduleMode: when.mode, ScheduledAt: when.at,
	}
	if clientRequestID != "" {
		p.ClientRequestID, p.RequestHash = &clientRequestID, hash
	}
	r, err := tx.Q.RunInsert(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("insert run: %w", err)
	}
	if err := tx.Later.RunInputInsert(ctx, r.ID, prompt, config); err != nil {
		return nil, fmt.Errorf("insert the run's input: %w", err)
	}
	if keys := session.Attachments(cfg.GetInputFiles()); len(keys) > 0 {
		if err := tx.Later.AttachmentInsertMany(ctx, s.ID, keys); err != nil {
			return nil, fmt.Errorf("note the session's attachments: %w", err)
		}
	}
	return s.Use(r), nil
}

// title is the prompt's first line, cut.
func title(prompt string) string {
	line, _, _ := strings.Cut(prompt, "\n")
	return strings.TrimSpace(store.Cut(strings.TrimSpace(line), maxTitleRunes))
}

func userMessage(prompt string) *backendv1.EventPayload {
	return &backendv1.EventPayload{Kind: &backendv1.EventPayload_MessageAdded{MessageAdded: &backendv1.MessageAdded{
		MessageId: uuid.NewString(),
		Role:      backendv1.MessageRole_MESSAGE_ROLE_USER,
		Blocks:    []*backendv1.ContentBlock{{Kind: &backendv1.ContentBlock_Text{Text: &backendv1.TextBlock{Text: prompt}}}},
	}}}
}
