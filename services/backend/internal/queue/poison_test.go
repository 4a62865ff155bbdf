package queue_test

import (
	"crypto/rand"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/backend/internal/backendtest"
)

// An event that the database refuses would be sent again for ever: whatever an
// agent or a model makes of it, an event has to be stored.
func TestStrangeEventsAreStored(t *testing.T) {
	b := backendtest.New(t)
	// Incompressible, and longer than what an index takes.
	long := ""
	for len(long) < 20_000 {
		long += rand.Text()
	}
	use := func(id, name string) *backendv1.ContentBlock {
		return &backendv1.ContentBlock{Kind: &backendv1.ContentBlock_ToolUse{ToolUse: &backendv1.ToolUseBlock{
			Id: id, Name: name, Input: &structpb.Struct{Fields: map[string]*structpb.Value{"a\x00\xff": structpb.NewNumberValue(math.NaN())}},
		}}}
	}
	result := func(id string) *backendv1.ContentBlock {
		return &backendv1.ContentBlock{Kind: &backendv1.ContentBlock_ToolResult{ToolResult: &backendv1.ToolResultBlock{ToolUseId: id, Content: "\x00\xed\xa0\xbd"}}}
	}
	usage := func(u *backendv1.Usage) *executorv1.RunEventPayload {
		return &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_UsageReported{UsageReported: &backendv1.UsageReported{Usage: u}}}
	}
	far := &timestamppb.Timestamp{Seconds: 253402300799}
	question := backendtest.Question(1, long, time.Now())
	question.Payload.GetUserInputRequested().ExpiresAt = far
	strangeRole := backendtest.Message(1)
	strangeRole.Payload.GetMessageAdded().Role = 99
	for name, e := range map[string]*executorv1.RunEvent{
		"long tool use id":   backendtest.Message(1, use(long, long), result(long), use(long, "again")),
		"long answer's id":   backendtest.Message(1, result("x"+long)),
		"tool id with a NUL": backendtest.Message(1, use("a\x00b", "\x00"), result("a\x00b")),
		"long question":      question,
		"unknown role":       strangeRole,
		"long conversation id": backendtest.Event(1, &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_AgentStarted{
			AgentStarted: &backendv1.AgentStarted{AgentSessionId: long}}}),
		"no number of dollars": backendtest.Event(1, usage(&backendv1.Usage{TotalCostUsd: math.NaN(), InputTokens: math.MaxInt64, OutputTokens: math.MinInt64})),
		"endless durations": backendtest.Event(1, usage(&backendv1.Usage{
			TotalCostUsd: math.Inf(1), Duration: &durationpb.Duration{Seconds: math.MaxInt64, Nanos: -1}, ApiDuration: durationpb.New(math.MaxInt64)})),
		"a time far off":  {RunSeq: 1, OccurredAt: far, Payload: backendtest.Text(1, "x").GetPayload()},
		"no time at all":  {RunSeq: 1, OccurredAt: &timestamppb.Timestamp{Seconds: math.MinInt64, Nanos: -5}, Payload: backendtest.Text(1, "x").GetPayload()},
		"unknown todo":    backendtest.Event(1, &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_TodosChanged{TodosChanged: &backendv1.TodosChanged{Todos: []*backendv1.Todo{{Status: 77}}}}}),
		"nothing in it":   backendtest.Event(1, &executorv1.RunEventPayload{}),
		"several MiB":     backendtest.Text(1, strings.Repeat("x", 5<<20)),
		"a strange end":   backendtest.Event(1, &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_RunFinished{RunFinished: &backendv1.RunFinished{Status: 77, Reason: 99, Message: "\x00"}}}),
		"an end with NaN": backendtest.Event(1, &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_RunFinished{RunFinished: &backendv1.RunFinished{Status: 5, Usage: &backendv1.Usage{TotalCostUsd: math.NaN()}}}}),
	} {
		t.Run(name, func(t *testing.T) {
			queued := b.Enqueue(t, "", "x")
			claimed := b.Start(t, "w1")
			ack := b.Append(t, claimed, e)
			require.EqualValues(t, 1, ack.Seq)
			b.Session(t, queued.GetSessionId())
			_, err := b.Sessions.GetUsage(t.Context(), &backendv1.GetUsageRequest{SessionId: queued.GetSessionId()})
			require.NoError(t, err)
			_, err = b.Sessions.ListToolExecutions(t.Context(), &backendv1.ListToolExecutionsRequest{SessionId: queued.GetSessionId()})
			require.NoError(t, err)
			if e.GetPayload().GetRunFinished() == nil {
				b.Append(t, claimed, backendtest.Finished(2, backendv1.RunStatus_RUN_STATUS_COMPLETED))
			}
		})
	}
}
