// Package dbtype has the types of columns that are more than SQL knows.
package dbtype

import "encoding/json"

// StringMap is a jsonb object of strings.
type StringMap map[string]string

// JSON is the map as a document, {} when there is none.
func (m StringMap) JSON() string {
	if m == nil {
		return "{}"
	}
	raw, _ := json.Marshal(m) // strings always have a form
	return string(raw)
}

// RunStatus is a run's state.
type RunStatus string

// States of runs.
const (
	RunQueued    RunStatus = "queued"
	RunClaimed   RunStatus = "claimed"
	RunRunning   RunStatus = "running"
	RunCanceling RunStatus = "canceling"
	RunCompleted RunStatus = "completed"
	RunFailed    RunStatus = "failed"
	RunCanceled  RunStatus = "canceled"
)

// Final says whether a state is one that never changes again.
func (s RunStatus) Final() bool { return s == RunCompleted || s == RunFailed || s == RunCanceled }

// Active says whether some worker holds a run in this state.
func (s RunStatus) Active() bool { return s == RunClaimed || s == RunRunning || s == RunCanceling }

// SessionStatus is a session's state: its active run's, or the last one's.
type SessionStatus string

// States of sessions, besides those of the runs that have ended.
const (
	SessionPending SessionStatus = "pending"
	SessionRunning SessionStatus = "running"
)

// ExportStatus is the state of a session's export; none is the empty string.
type ExportStatus string

// States of exports.
const (
	ExportPending ExportStatus = "pending"
	ExportReady   ExportStatus = "ready"
	ExportFailed  ExportStatus = "failed"
)

// InputStatus is the state of a question.
type InputStatus string

// States of questions.
const (
	InputPending  InputStatus = "pending"
	InputAnswered InputStatus = "answered"
	InputExpired  InputStatus = "expired"
	InputCanceled InputStatus = "canceled"
)

// CommandKind is what a worker is told.
type CommandKind string

// Kinds of commands.
const (
	CommandCancel CommandKind = "cancel"
	CommandAnswer CommandKind = "answer"
	CommandExport CommandKind = "export"
	CommandDelete CommandKind = "delete"
)
