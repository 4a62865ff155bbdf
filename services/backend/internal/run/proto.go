// Package run holds the states of a run and what each change of state brings
// with it.
package run

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/poco-ai/poco/db/dbgen"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/backend/internal/store"
)

// Proto converts a row.
func Proto(r *dbgen.Run) *backendv1.Run {
	return &backendv1.Run{
		Id: r.ID, SessionId: r.SessionID, Status: store.RunStatus(r.Status), StatusReason: store.RunReason(r.StatusReason), StatusMessage: r.StatusMessage,
		Attempt: r.Attempt, Progress: r.Progress, ScheduleMode: r.ScheduleMode,
		ScheduledAt: timestamppb.New(r.ScheduledAt), CreatedAt: timestamppb.New(r.CreatedAt),
		StartedAt: optionalTime(r.StartedAt), FinishedAt: optionalTime(r.FinishedAt),
	}
}

func optionalTime(t *time.Time) *timestamppb.Timestamp {
	if t == nil {
		return nil
	}
	return timestamppb.New(*t)
}

// IsFinal says whether a state is one that never changes again.
func IsFinal(status string) bool {
	return status == store.RunCompleted || status == store.RunFailed || status == store.RunCanceled
}

// IsActive says whether some worker holds a run in this state.
func IsActive(status string) bool {
	return status == store.RunClaimed || status == store.RunRunning || status == store.RunCanceling
}

// statusChanged is the event of a run's new state.
func statusChanged(r *dbgen.Run) *backendv1.EventPayload {
	changed := &backendv1.RunStatusChanged{
		Status: store.RunStatus(r.Status), Reason: store.RunReason(r.StatusReason), Message: r.StatusMessage, Attempt: r.Attempt,
	}
	if r.Status == store.RunQueued {
		changed.ScheduledAt = timestamppb.New(r.ScheduledAt)
	}
	return &backendv1.EventPayload{Kind: &backendv1.EventPayload_RunStatusChanged{RunStatusChanged: changed}}
}
