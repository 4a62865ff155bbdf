package session

import (
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/poco-ai/poco/db/dbgen"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

func toolExecution(row dbgen.ToolExecution) (*backendv1.ToolExecution, error) {
	t := &backendv1.ToolExecution{
		Id: row.ID, SessionId: row.SessionID, RunId: row.RunID, ToolUseId: row.ToolUseID, ToolName: row.ToolName,
		Input: &structpb.Struct{}, IsError: row.IsError, CreatedAt: timestamppb.New(row.CreatedAt),
	}
	if err := proto.Unmarshal(row.Input, t.Input); err != nil {
		return nil, fmt.Errorf("decode the input of tool execution %s: %w", row.ID, err)
	}
	if row.Output != nil {
		t.Output = &structpb.Struct{}
		if err := proto.Unmarshal(row.Output, t.Output); err != nil {
			return nil, fmt.Errorf("decode the output of tool execution %s: %w", row.ID, err)
		}
	}
	if row.DurationUs != nil {
		t.Duration = durationpb.New(clampMicroseconds(*row.DurationUs))
	}
	return t, nil
}

// clampMicroseconds keeps a duration within what time.Duration holds.
func clampMicroseconds(us int64) time.Duration {
	return time.Duration(min(us, math.MaxInt64/int64(time.Microsecond))) * time.Microsecond
}
