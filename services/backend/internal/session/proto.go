// Package session is poco.backend.v1.SessionService, one file for each RPC.
package session

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/poco-ai/poco/db/dbgen"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/backend/internal/store"
)

// Basic converts a row without its contents, as lists show it.
func Basic(row *dbgen.Session) *backendv1.Session { return whole(row, nil, nil) }

// Proto converts a row with its contents.
func Proto(row *dbgen.Session, content *dbgen.SessionContent) (*backendv1.Session, error) {
	cfg, state, err := store.DecodeContent(content)
	if err != nil {
		return nil, err
	}
	return whole(row, cfg, state), nil
}

// Saved converts a session as its transaction has left it, whose contents have
// been read there.
func Saved(ctx context.Context, s *store.Session) (*backendv1.Session, error) {
	cfg, err := s.Config(ctx)
	if err != nil {
		return nil, err
	}
	state, err := s.State(ctx)
	if err != nil {
		return nil, err
	}
	return whole(&s.Session, cfg, state), nil
}

func whole(row *dbgen.Session, cfg *backendv1.TaskConfig, state *backendv1.SessionState) *backendv1.Session {
	return &backendv1.Session{
		Id: row.ID, ProjectId: value(row.ProjectID), Title: row.Title, Status: store.SessionStatus(row.Status),
		LastSeq: row.LastSeq, ActiveRunId: value(row.ActiveRunID), LatestRunId: value(row.LatestRunID), QueuedRuns: row.QueuedRuns,
		State: state, Export: &backendv1.SessionExport{Status: store.ExportStatus(row.ExportStatus), Reason: row.ExportReason},
		CreatedAt: timestamppb.New(row.CreatedAt), UpdatedAt: timestamppb.New(row.UpdatedAt), Config: shown(cfg),
	}
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// SumUsage adds up encoded usages.
func SumUsage(encoded [][]byte) (*backendv1.Usage, error) {
	total := &backendv1.Usage{}
	var duration, apiDuration time.Duration
	for _, raw := range encoded {
		var u backendv1.Usage
		if err := proto.Unmarshal(raw, &u); err != nil {
			return nil, fmt.Errorf("decode usage: %w", err)
		}
		total.TotalCostUsd += u.GetTotalCostUsd()
		total.InputTokens += u.GetInputTokens()
		total.OutputTokens += u.GetOutputTokens()
		total.CacheReadInputTokens += u.GetCacheReadInputTokens()
		total.CacheCreationInputTokens += u.GetCacheCreationInputTokens()
		total.NumTurns += u.GetNumTurns()
		duration += u.GetDuration().AsDuration()
		apiDuration += u.GetApiDuration().AsDuration()
		for model, m := range u.GetModels() {
			addModel(total, model, m)
		}
	}
	total.Duration, total.ApiDuration = durationpb.New(duration), durationpb.New(apiDuration)
	return total, nil
}

func addModel(total *backendv1.Usage, model string, m *backendv1.ModelUsage) {
	if total.Models == nil {
		total.Models = make(map[string]*backendv1.ModelUsage)
	}
	sum := total.Models[model]
	if sum == nil {
		sum = &backendv1.ModelUsage{}
		total.Models[model] = sum
	}
	sum.CostUsd += m.GetCostUsd()
	sum.InputTokens += m.GetInputTokens()
	sum.OutputTokens += m.GetOutputTokens()
	sum.CacheReadInputTokens += m.GetCacheReadInputTokens()
	sum.CacheCreationInputTokens += m.GetCacheCreationInputTokens()
}
