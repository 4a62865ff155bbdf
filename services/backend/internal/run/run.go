// Package run is the life of a run, and poco.backend.v1.RunService.
//
// Every change of a run's state is one function here, in the file of its name.
// It works on a locked session and a locked run of it, in one transaction, and
// does all that the change brings with it: the session's own state, questions,
// commands, the export, the event that tells the watchers.
//
//	Enqueue     -> queued
//	Claim       queued -> claimed
//	Start       claimed -> running
//	Cancel      queued -> canceled; claimed, running -> canceling
//	Finish      queued, claimed, running, canceling -> completed, failed, canceled
//	Release     claimed, running -> queued, as if never claimed
//	Requeue     claimed, running -> queued, as the next attempt
//	Resume      claimed, running -> queued, to go on where the agent was
//	EndAttempt  Resume or Finish, by why the attempt ended
//	Expire      Requeue, Resume or Finish, by how far the agent came
package run

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/poco-ai/poco/db/dbgen"
	"github.com/poco-ai/poco/db/dbtype"
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

// statusChanged is the event of a run's new state.
func statusChanged(r *store.Run) *backendv1.EventPayload {
	changed := &backendv1.RunStatusChanged{
		Status: store.RunStatus(r.Status), Reason: store.RunReason(r.StatusReason), Message: r.StatusMessage, Attempt: r.Attempt,
	}
	if r.Status == dbtype.RunQueued {
		changed.ScheduledAt = timestamppb.New(r.ScheduledAt)
	}
	return &backendv1.EventPayload{Kind: &backendv1.EventPayload_RunStatusChanged{RunStatusChanged: changed}}
}

// Schedule modes.
const (
	ModeImmediate = "immediate"
	ModeScheduled = "scheduled"
)

// Modes are what workers claim that name none, and all that is served: a run of
// another mode would wait for ever.
var Modes = []string{ModeImmediate, ModeScheduled}
