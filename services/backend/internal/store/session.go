package store

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/poco-ai/poco/db/dbgen"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// Session is a locked session row. Change its fields and its contents; Do saves
// them, together with the events, which are numbered in the order of the calls.
type Session struct {
	dbgen.Session

	tx       *Tx
	stored   dbgen.Session // as it was read
	contents *contents     // nil until someone asks for them
	runs     []*Run
}

// Run is a locked run row. Change its fields; Do saves them.
type Run struct {
	dbgen.Run

	stored dbgen.Run // as it was read
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
	tx.hints.List(s.ID, s.UserID)
	return s, nil
}

// Tx returns the transaction that locked the session.
func (s *Session) Tx() *Tx { return s.tx }

// SetAgentSession keeps an agent's own id of its conversation.
func (s *Session) SetAgentSession(agent, id string) {
	s.AgentSessionIds = maps.Clone(s.AgentSessionIds)
	s.AgentSessionIds[agent] = id
}

// Emit stores an event of the backend's own. The run may be empty.
func (s *Session) Emit(runID string, payload *backendv1.EventPayload) error {
	return s.Append(runID, 0, Now(), payload)
}

// Append stores an event under the session's next number. A message becomes a
// part of the conversation as well. The payload must not change any more: watchers
// get it as it is.
func (s *Session) Append(runID string, runSeq int64, at time.Time, payload *backendv1.EventPayload) error {
	raw, size, err := EncodePayload(payload, &s.tx.diffs)
	if err != nil {
		return err
	}
	for len(s.tx.diffSessions) < len(s.tx.diffs.hashes) {
		s.tx.diffSessions = append(s.tx.diffSessions, s.ID)
	}
	s.LastSeq++
	e := &s.tx.events
	e.SessionIds = append(e.SessionIds, s.ID)
	e.Seqs = append(e.Seqs, s.LastSeq)
	e.RunIds = append(e.RunIds, runID)
	e.RunSeqs = append(e.RunSeqs, runSeq)
	e.OccurredAts = append(e.OccurredAts, at)
	e.Payloads = append(e.Payloads, raw)
	e.Sizes = append(e.Sizes, int64(size))
	s.tx.hints.Event(s.ID, &backendv1.SessionEvent{
		Seq: s.LastSeq, RunId: runID, RunSeq: runSeq, OccurredAt: timestamppb.New(at), Payload: payload,
	})
	if m := payload.GetMessageAdded(); m != nil {
		s.addMessage(m, size)
	}
	return nil
}

func (s *Session) addMessage(m *backendv1.MessageAdded, size int) {
	id, err := uuid.Parse(m.GetMessageId())
	if err != nil { // the agent gave none
		id = uuid.New()
	}
	verbatim := len(m.GetVerbatimJson())
	p := &s.tx.messages
	p.SessionIds = append(p.SessionIds, s.ID)
	p.Seqs = append(p.Seqs, s.LastSeq)
	p.Ids = append(p.Ids, id.String())
	p.Sizes = append(p.Sizes, int64(size-verbatim))
	p.VerbatimSizes = append(p.VerbatimSizes, int64(verbatim))
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
