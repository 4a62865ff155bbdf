package session

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/poco-ai/poco/db/dbgen"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/backend/internal/page"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/pagesize"
)

// ListMessages lists a session's conversation, oldest first.
func (s *Service) ListMessages(ctx context.Context, req *backendv1.ListMessagesRequest) (*backendv1.ListMessagesResponse, error) {
	row, err := s.store.OwnedSession(ctx, auth.User(ctx), req.GetSessionId())
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
		Id: row.ID, SessionId: sessionID, RunId: value(row.RunID), Seq: row.Seq, Role: payload.GetMessageAdded().GetRole(),
		Blocks: payload.GetMessageAdded().GetBlocks(), TextPreview: preview(payload.GetMessageAdded()), CreatedAt: timestamppb.New(row.OccurredAt),
	}
	if verbatim {
		m.VerbatimJson = payload.GetMessageAdded().GetVerbatimJson()
	}
	return m, nil
}

// previewRunes is how much of a message's first text lists show.
const previewRunes = 500

func preview(m *backendv1.MessageAdded) string {
	for _, block := range m.GetBlocks() {
		if text, ok := block.GetKind().(*backendv1.ContentBlock_Text); ok {
			return store.Cut(text.Text.GetText(), previewRunes)
		}
	}
	return ""
}
