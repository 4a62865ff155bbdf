// Package backendtest is a backend that plays what a test wrote. The real one
// is used by the end-to-end tests; here it is about what a client makes of
// answers that the real one gives rarely.
package backendtest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/gen/go/poco/backend/v1/backendv1connect"
)

// Ids that the backend hands out.
const (
	SessionID  = "6f9c0000-0000-4000-8000-0000000000f1"
	RunID      = "6f9c0000-0000-4000-8000-000000000001"
	OtherRunID = "6f9c0000-0000-4000-8000-000000000002"
	RequestID  = "6f9c0000-0000-4000-8000-00000000000a"
)

// Connection is one call of WatchSession: what is sent, then how it ends.
type Connection struct {
	Messages []*backendv1.WatchSessionResponse
	// Err ends the stream; nil ends it cleanly.
	Err error
	// Until holds the end back.
	Until <-chan struct{}
}

// Backend plays connections one after the other and records what it is asked.
type Backend struct {
	backendv1connect.UnimplementedTaskServiceHandler
	backendv1connect.UnimplementedSessionServiceHandler
	backendv1connect.UnimplementedRunServiceHandler
	backendv1connect.UnimplementedUserInputServiceHandler

	URL string
	// Answered and Canceled bring the requests of these calls.
	Answered chan *backendv1.AnswerUserInputRequestRequest
	Canceled chan string
	// Questions are the open ones.
	Questions []*backendv1.UserInputRequest
	Sessions  []*backendv1.Session
	// Changes are what the run changed.
	Changes []*backendv1.FileChange

	// Enqueueing, when there is one, is told of each EnqueueTask, which then waits
	// until what is sent there is closed.
	Enqueueing chan<- chan struct{}

	mu          sync.Mutex
	connections []Connection
	cursors     []int64
	enqueued    []*backendv1.EnqueueTaskRequest
}

// New starts a backend that plays connections.
func New(t testing.TB, connections ...Connection) *Backend {
	t.Helper()
	b := &Backend{
		Answered: make(chan *backendv1.AnswerUserInputRequestRequest, 10), Canceled: make(chan string, 10),
		connections: connections,
	}
	rpc := connect.NewServer()
	backendv1connect.RegisterTaskServiceHandler(rpc, b)
	backendv1connect.RegisterSessionServiceHandler(rpc, b)
	backendv1connect.RegisterRunServiceHandler(rpc, b)
	backendv1connect.RegisterUserInputServiceHandler(rpc, b)
	mux := http.NewServeMux()
	connecthttp.Mount(mux, rpc)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	b.URL = server.URL
	return b
}

// Cursors are the after_seq of the watches so far.
func (b *Backend) Cursors() []int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]int64(nil), b.cursors...)
}

// Enqueued returns the only task that was sent.
func (b *Backend) Enqueued(t testing.TB) *backendv1.EnqueueTaskRequest {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	require.Len(t, b.enqueued, 1)
	return b.enqueued[0]
}

// EnqueueTask implements the service.
func (b *Backend) EnqueueTask(ctx context.Context, req *backendv1.EnqueueTaskRequest) (*backendv1.EnqueueTaskResponse, error) {
	if b.Enqueueing != nil {
		goOn := make(chan struct{})
		b.Enqueueing <- goOn
		select {
		case <-goOn:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.enqueued = append(b.enqueued, req)
	return &backendv1.EnqueueTaskResponse{SessionId: SessionID, RunId: RunID, Status: backendv1.RunStatus_RUN_STATUS_QUEUED}, nil
}

// GetSession implements the service.
func (b *Backend) GetSession(_ context.Context, req *backendv1.GetSessionRequest) (*backendv1.GetSessionResponse, error) {
	if req.GetSessionId() != SessionID {
		return nil, connect.NewError(connect.CodeNotFound, "session not found")
	}
	return &backendv1.GetSessionResponse{Session: &backendv1.Session{Id: SessionID, LastSeq: 7, LatestRunId: RunID}}, nil
}

// ListSessions implements the service.
func (b *Backend) ListSessions(context.Context, *backendv1.ListSessionsRequest) (*backendv1.ListSessionsResponse, error) {
	return &backendv1.ListSessionsResponse{Sessions: b.Sessions}, nil
}

// WatchSession implements the service.
func (b *Backend) WatchSession(ctx context.Context, req *backendv1.WatchSessionRequest, stream backendv1connect.SessionServiceWatchSessionServerStream) error {
	b.mu.Lock()
	b.cursors = append(b.cursors, req.GetAfterSeq())
	if len(b.connections) == 0 {
		b.mu.Unlock()
		return connect.NewError(connect.CodeNotFound, "no further connection is written")
	}
	connection := b.connections[0]
	b.connections = b.connections[1:]
	b.mu.Unlock()
	if err := stream.SendHeaders(); err != nil {
		return err
	}
	for _, message := range connection.Messages {
		if err := stream.Send(message); err != nil {
			return err
		}
	}
	if connection.Until != nil {
		select {
		case <-connection.Until:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return connection.Err
}

// CancelRun implements the service; only RunID is a run.
func (b *Backend) CancelRun(ctx context.Context, req *backendv1.CancelRunRequest) (*backendv1.CancelRunResponse, error) {
	if req.GetRunId() != RunID {
		return nil, connect.NewError(connect.CodeNotFound, "run not found")
	}
	select {
	case b.Canceled <- req.GetRunId():
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return &backendv1.CancelRunResponse{Run: &backendv1.Run{Id: RunID, Status: backendv1.RunStatus_RUN_STATUS_CANCELING}}, nil
}

// CancelSession implements the service.
func (b *Backend) CancelSession(_ context.Context, req *backendv1.CancelSessionRequest) (*backendv1.CancelSessionResponse, error) {
	if req.GetSessionId() != SessionID {
		return nil, connect.NewError(connect.CodeNotFound, "session not found")
	}
	return &backendv1.CancelSessionResponse{CanceledRunIds: []string{RunID}}, nil
}

// ListFileChanges implements the service, one file a page.
func (b *Backend) ListFileChanges(_ context.Context, req *backendv1.ListFileChangesRequest) (*backendv1.ListFileChangesResponse, error) {
	if req.GetRunId() != RunID {
		return nil, connect.NewError(connect.CodeNotFound, "run not found")
	}
	n := len(req.GetPageToken())
	resp := &backendv1.ListFileChangesResponse{Files: b.Changes[n : n+1], Truncated: true}
	if n+1 < len(b.Changes) {
		resp.NextPageToken = req.GetPageToken() + "x"
	}
	return resp, nil
}

// ListUserInputRequests implements the service.
func (b *Backend) ListUserInputRequests(context.Context, *backendv1.ListUserInputRequestsRequest) (*backendv1.ListUserInputRequestsResponse, error) {
	return &backendv1.ListUserInputRequestsResponse{UserInputRequests: b.Questions}, nil
}

// AnswerUserInputRequest implements the service.
func (b *Backend) AnswerUserInputRequest(_ context.Context, req *backendv1.AnswerUserInputRequestRequest) (*backendv1.AnswerUserInputRequestResponse, error) {
	b.Answered <- req
	return &backendv1.AnswerUserInputRequestResponse{}, nil
}

// Event is an event of the run.
func Event(seq int64, payload *backendv1.EventPayload) *backendv1.WatchSessionResponse {
	return EventOf(RunID, seq, payload)
}

// EventOf is an event of any run.
func EventOf(run string, seq int64, payload *backendv1.EventPayload) *backendv1.WatchSessionResponse {
	return &backendv1.WatchSessionResponse{Kind: &backendv1.WatchSessionResponse_Event{
		Event: &backendv1.SessionEvent{Seq: seq, RunId: run, RunSeq: seq, Payload: payload},
	}}
}

// CaughtUp ends the history.
func CaughtUp() *backendv1.WatchSessionResponse {
	return &backendv1.WatchSessionResponse{Kind: &backendv1.WatchSessionResponse_CaughtUp{CaughtUp: &backendv1.CaughtUp{}}}
}

// Text is a message of the agent.
func Text(text string) *backendv1.EventPayload {
	return &backendv1.EventPayload{Kind: &backendv1.EventPayload_MessageAdded{MessageAdded: &backendv1.MessageAdded{
		Role:   backendv1.MessageRole_MESSAGE_ROLE_ASSISTANT,
		Blocks: []*backendv1.ContentBlock{{Kind: &backendv1.ContentBlock_Text{Text: &backendv1.TextBlock{Text: text}}}},
	}}}
}

// Status is a change of the run's state.
func Status(status backendv1.RunStatus) *backendv1.EventPayload {
	return &backendv1.EventPayload{Kind: &backendv1.EventPayload_RunStatusChanged{RunStatusChanged: &backendv1.RunStatusChanged{Status: status}}}
}

// Asked is a question with two options.
func Asked() *backendv1.EventPayload {
	return &backendv1.EventPayload{Kind: &backendv1.EventPayload_UserInputRequested{UserInputRequested: &backendv1.UserInputRequested{
		UserInputRequestId: RequestID, Questions: Questions(),
	}}}
}

// Questions are those that Asked asks.
func Questions() []*backendv1.UserQuestion {
	return []*backendv1.UserQuestion{{Id: "1", Question: "Which?", Options: []*backendv1.UserQuestionOption{{Label: "Red"}, {Label: "Blue"}}}}
}

// Resolved ends the question of Asked.
func Resolved(status backendv1.UserInputStatus) *backendv1.EventPayload {
	return &backendv1.EventPayload{Kind: &backendv1.EventPayload_UserInputResolved{UserInputResolved: &backendv1.UserInputResolved{
		UserInputRequestId: RequestID, Status: status,
	}}}
}
