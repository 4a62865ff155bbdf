package queue

import (
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
)

// sessionPayload is what an executor reports as the payload of a session's event.
// A kind that this version does not know becomes a payload without one: the event
// keeps its number.
func sessionPayload(reported *executorv1.RunEventPayload) *backendv1.EventPayload {
	payload := new(backendv1.EventPayload)
	switch kind := reported.GetKind().(type) {
	case *executorv1.RunEventPayload_AgentStarted:
		payload.Kind = &backendv1.EventPayload_AgentStarted{AgentStarted: kind.AgentStarted}
	case *executorv1.RunEventPayload_MessageAdded:
		payload.Kind = &backendv1.EventPayload_MessageAdded{MessageAdded: kind.MessageAdded}
	case *executorv1.RunEventPayload_TodosChanged:
		payload.Kind = &backendv1.EventPayload_TodosChanged{TodosChanged: kind.TodosChanged}
	case *executorv1.RunEventPayload_FilesChanged:
		payload.Kind = &backendv1.EventPayload_FilesChanged{FilesChanged: kind.FilesChanged}
	case *executorv1.RunEventPayload_ApiRetried:
		payload.Kind = &backendv1.EventPayload_ApiRetried{ApiRetried: kind.ApiRetried}
	case *executorv1.RunEventPayload_UserInputRequested:
		payload.Kind = &backendv1.EventPayload_UserInputRequested{UserInputRequested: kind.UserInputRequested}
	case *executorv1.RunEventPayload_UsageReported:
		payload.Kind = &backendv1.EventPayload_UsageReported{UsageReported: kind.UsageReported}
	case *executorv1.RunEventPayload_Notice:
		payload.Kind = &backendv1.EventPayload_Notice{Notice: kind.Notice}
	case *executorv1.RunEventPayload_McpServersChanged:
		payload.Kind = &backendv1.EventPayload_McpServersChanged{McpServersChanged: kind.McpServersChanged}
	case *executorv1.RunEventPayload_RunFinished:
		payload.Kind = &backendv1.EventPayload_RunFinished{RunFinished: kind.RunFinished}
	}
	return payload
}
