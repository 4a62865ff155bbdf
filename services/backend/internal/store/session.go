package store

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/poco-ai/poco/db/dbgen"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// previewRunes is how much of a message's first text lists show.
const previewRunes = 500

// Session is a locked session row. Change its fields and its contents; Do saves
// them, together with the events, which are numbered in the order of the calls.
type Session struct {
	*dbgen.Session

	tx       *Tx
	contents *contents // nil until someone asks for them
	events   dbgen.RunEventInsertManyParams
	live     []*backendv1.SessionEvent // the same, for watchers at this backend
	messages dbgen.MessageInsertManyParams
	diffs    Diffs
	listed   bool
	dirty    bool
}

// OwnedSession reads a session of a user; another user's is NotFound.
func (s *Store) OwnedSession(ctx context.Context, userID, id string) (dbgen.Session, error) {
	row, err := s.Read().SessionGetOwned(ctx, id, userID)
	if IsNotFound(err) {
		return row, rpcerror.NotFound("session", id)
	}
	if err != nil {
		return row, fmt.Errorf("read session: %w", err)
	}
	return row, nil
}

// Use takes up a session row that is locked in the transaction.
func (tx *Tx) Use(row dbgen.Session) *Session {
	s := &Session{Session: &row, tx: tx}
	tx.sessions = append(tx.sessions, s)
	return s
}

// NewSession inserts a session. Nobody else can see it before the commit.
func (tx *Tx) NewSession(ctx context.Context, userID string, projectID *string, title string, cfg *backendv1.TaskConfig) (*Session, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("make a session id: %w", err)
	}
	config, err := Marshal(cfg)
	if err != nil {
		return nil, err
	}
	err = tx.Later.SessionInsert(ctx, dbgen.SessionInsertParams{
		ID: id.String(), UserID: userID, ProjectID: projectID, Title: title, CreatedAt: Now(),
	})
	if err != nil {
		return nil, fmt.Errorf("insert session: %w", err)
	}
	if err := tx.Later.SessionContentInsert(ctx, id.String(), config); err != nil {
		return nil, fmt.Errorf("insert the session's contents: %w", err)
	}
	s, err := tx.LockSession(ctx, id.String())
	if err != nil {
		return nil, err
	}
	s.contents = &contents{
		stored: dbgen.SessionContent{SessionID: s.ID, Config: config, State: []byte{}}, config: cfg, state: &backendv1.SessionState{},
	}
	s.Changed()
	return s, nil
}

// Tx returns the transaction that locked the session.
func (s *Session) Tx() *Tx { return s.tx }

// Changed makes sure that the row is saved and that watchers of the user's list
// see it.
func (s *Session) Changed() { s.dirty, s.listed = true, true }

// SetAgentSession keeps an agent's own id of its conversation.
func (s *Session) SetAgentSession(agent, id string) {
	if s.AgentSessionIds[agent] == id {
		return
	}
	s.AgentSessionIds[agent] = id
	s.Changed()
}

// Emit stores an event of the backend's own. The run may be empty.
func (s *Session) Emit(runID string, payload *backendv1.EventPayload) error {
	return s.Append(runID, 0, Now(), payload)
}

// Append stores an event under the session's next number. A message becomes a
// part of the conversation as well. The payload must not change any more: watchers
// get it as it is.
func (s *Session) Append(runID string, runSeq int64, at time.Time, payload *backendv1.EventPayload) error {
	raw, size, err := EncodePayload(payload, &s.diffs)
	if err != nil {
		return err
	}
	s.LastSeq++
	s.dirty = true
	e := &s.events
	e.Seqs = append(e.Seqs, s.LastSeq)
	e.RunIds = append(e.RunIds, runID)
	e.RunSeqs = append(e.RunSeqs, runSeq)
	e.OccurredAts = append(e.OccurredAts, at)
	e.Payloads = append(e.Payloads, raw)
	e.Sizes = append(e.Sizes, int64(size))
	s.live = append(s.live, &backendv1.SessionEvent{
		Seq: s.LastSeq, RunId: runID, RunSeq: runSeq, OccurredAt: timestamppb.New(at), Payload: payload,
	})
	if m := payload.GetMessageAdded(); m != nil {
		s.addMessage(runID, at, m, size)
	}
	return nil
}

func (s *Session) addMessage(runID string, at time.Time, m *backendv1.MessageAdded, size int) {
	id, err := uuid.Parse(m.GetMessageId())
	if err != nil { // the agent gave none
		id = uuid.New()
	}
	verbatim := len(m.GetVerbatimJson())
	p := &s.messages
	p.Seqs = append(p.Seqs, s.LastSeq)
	p.Ids = append(p.Ids, id.String())
	p.RunIds = append(p.RunIds, runID)
	p.Roles = append(p.Roles, RoleText(m.GetRole()))
	p.TextPreviews = append(p.TextPreviews, preview(m))
	p.Sizes = append(p.Sizes, int64(size-verbatim))
	p.VerbatimSizes = append(p.VerbatimSizes, int64(verbatim))
	p.CreatedAts = append(p.CreatedAts, at)
}

func preview(m *backendv1.MessageAdded) string {
	for _, block := range m.GetBlocks() {
		if text, ok := block.GetKind().(*backendv1.ContentBlock_Text); ok {
			return Cut(text.Text.GetText(), previewRunes)
		}
	}
	return ""
}

// Cut returns at most n runes of s.
func Cut(s string, n int) string {
	count := 0
	for i := range s {
		if count == n {
			return s[:i]
		}
		count++
	}
	return s
}

// save writes the row and its events.
func (s *Session) save(ctx context.Context) error {
	if err := s.saveContents(ctx); err != nil {
		return err
	}
	if !s.dirty {
		return nil
	}
	q := s.tx.Later
	if len(s.events.Seqs) > 0 {
		s.events.SessionID = s.ID
		if err := q.RunEventInsertMany(ctx, s.events); err != nil {
			return fmt.Errorf("insert events: %w", err)
		}
		for _, e := range s.live {
			s.tx.hints.Event(s.ID, e)
		}
	}
	if len(s.diffs.hashes) > 0 {
		if err := q.FileDiffInsertMany(ctx, s.ID, s.diffs.hashes, s.diffs.texts); err != nil {
			return fmt.Errorf("insert diffs: %w", err)
		}
	}
	if len(s.messages.Seqs) > 0 {
		s.messages.SessionID = s.ID
		if err := q.MessageInsertMany(ctx, s.messages); err != nil {
			return fmt.Errorf("insert messages: %w", err)
		}
	}
	if err := s.update(ctx); err != nil {
		return err
	}
	if s.listed {
		s.tx.hints.List(s.ID, s.UserID)
	}
	if s.DeletedAt != nil {
		s.tx.hints.Delete(s.ID)
	}
	return nil
}

func (s *Session) update(ctx context.Context) error {
	row := s.Session
	switch idle := row.ActiveRunID == nil && row.QueuedRuns == 0; {
	case !idle:
		row.IdleSince = nil
	case row.IdleSince == nil:
		now := Now()
		row.IdleSince = &now
	}
	row.UpdatedAt = Now()
	err := s.tx.Later.SessionUpdate(ctx, dbgen.SessionUpdateParams{
		ID: row.ID, ProjectID: row.ProjectID, Title: row.Title, Status: row.Status,
		LastSeq: row.LastSeq, ActiveRunID: row.ActiveRunID, LatestRunID: row.LatestRunID, QueuedRuns: row.QueuedRuns,
		AgentSessionIds: row.AgentSessionIds, WorkerID: row.WorkerID, ExportStatus: row.ExportStatus, ExportReason: row.ExportReason,
		ExportRunID: row.ExportRunID, ManifestKey: row.ManifestKey, ArchiveKey: row.ArchiveKey, FilesPrefix: row.FilesPrefix,
		SnapshotKey: row.SnapshotKey, SnapshotRunID: row.SnapshotRunID, DeletedAt: row.DeletedAt, IdleSince: row.IdleSince,
		UpdatedAt: row.UpdatedAt,
	})
	if err != nil {
		return fmt.Errorf("save session: %w", err)
	}
	return nil
}

// Marshal encodes a message for a column; the same message always in the same
// way. It is never nil, which would be NULL.
func Marshal(m proto.Message) ([]byte, error) {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", m, err)
	}
	return notNil(raw), nil
}

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
