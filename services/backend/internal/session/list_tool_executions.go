package session

import (
	"context"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/poco-ai/poco/db/dbgen"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/backend/internal/page"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/pagesize"
)

func toolExecution(row *dbgen.ToolExecutionListRow) *backendv1.ToolExecution {
	t := &backendv1.ToolExecution{
		Id: row.ID, SessionId: row.SessionID, RunId: row.RunID, ToolUseId: row.ToolUseID, ToolName: row.ToolName,
		Input: &structpb.Struct{}, IsError: row.IsError, CreatedAt: timestamppb.New(row.CreatedAt),
	}
	if row.DurationUs != nil {
		t.Duration = durationpb.New(clampMicroseconds(*row.DurationUs))
	}
	return t
}

// block names a call of a tool, or its answer, in an event.
type block struct {
	seq       int64
	toolUseID string
}

// fillTools puts in what the tools were given and what they answered, from the
// events that said so.
func (s *Service) fillTools(ctx context.Context, sessionID string, rows []dbgen.ToolExecutionListRow, tools []*backendv1.ToolExecution) error {
	uses, results := make(map[block]*backendv1.ToolExecution), make(map[block]*backendv1.ToolExecution)
	var seqs []int64
	for i := range rows {
		if seq := rows[i].UseSeq; seq != nil {
			uses[block{*seq, rows[i].ToolUseID}] = tools[i]
			seqs = append(seqs, *seq)
		}
		if seq := rows[i].ResultSeq; seq != nil {
			results[block{*seq, rows[i].ToolUseID}] = tools[i]
			seqs = append(seqs, *seq)
		}
	}
	for after := int64(0); ; {
		// Events may be larger than what is taken of them: a few at a time.
		events, err := s.store.Read().RunEventListOf(ctx, dbgen.RunEventListOfParams{
			SessionID: sessionID, Seqs: seqs, AfterSeq: after, MaxBytes: page.MaxBytes,
		})
		if err != nil {
			return fmt.Errorf("read the events of tools: %w", err)
		}
		if len(events) == 0 {
			return nil
		}
		for _, e := range events {
			after = e.Seq
			payload, err := store.DecodePayload(e.Payload)
			if err != nil {
				return fmt.Errorf("decode event %d of session %s: %w", e.Seq, sessionID, err)
			}
			fillFrom(e.Seq, payload.GetMessageAdded(), uses, results)
		}
	}
}

// fillFrom takes what tools were given and answered from one message. Of two
// blocks with one id, the last one counts.
func fillFrom(seq int64, m *backendv1.MessageAdded, uses, results map[block]*backendv1.ToolExecution) {
	for _, b := range m.GetBlocks() {
		switch kind := b.GetKind().(type) {
		case *backendv1.ContentBlock_ToolUse:
			if t := uses[block{seq, store.ToolUseID(kind.ToolUse.GetId())}]; t != nil && kind.ToolUse.GetInput() != nil {
				t.Input = kind.ToolUse.GetInput()
			}
		case *backendv1.ContentBlock_ToolResult:
			if t := results[block{seq, store.ToolUseID(kind.ToolResult.GetToolUseId())}]; t != nil {
				t.Output = &structpb.Struct{Fields: map[string]*structpb.Value{
					"content": structpb.NewStringValue(kind.ToolResult.GetContent()),
				}}
			}
		}
	}
}

// clampMicroseconds keeps a duration within what time.Duration holds.
func clampMicroseconds(us int64) time.Duration {
	return time.Duration(min(us, math.MaxInt64/int64(time.Microsecond))) * time.Microsecond
}

// ListToolExecutions lists calls of tools, oldest first.
func (s *Service) ListToolExecutions(ctx context.Context, req *backendv1.ListToolExecutionsRequest) (*backendv1.ListToolExecutionsResponse, error) {
	row, err := s.store.OwnedSession(ctx, auth.User(ctx), req.GetSessionId())
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
