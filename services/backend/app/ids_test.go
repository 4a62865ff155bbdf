package app_test

import (
	"context"
	"strings"
	"testing"

	"buf.build/go/protovalidate"
	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/poco-ai/poco/db/dbtest"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/gen/go/poco/backend/v1/backendv1connect"
	"github.com/poco-ai/poco/services/internal/testkit"
)

// An id means the same in upper case, wherever it is compared.
func TestUpperCaseIDs(t *testing.T) {
	databaseURL := dbtest.URL(t, testkit.Postgres(t))
	b := start(t, databaseURL)
	client := connect.NewClient(connecthttp.NewTransport(httpClient(t), b.url))
	sessions, tasks := backendv1connect.NewSessionServiceClient(client), backendv1connect.NewTaskServiceClient(client)
	project := uuid.NewString()
	conn, err := pgx.Connect(t.Context(), databaseURL)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), `INSERT INTO projects (id, user_id, name) VALUES ($1, 'default', 'p')`, project)
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))
	upper := strings.ToUpper

	created, err := sessions.CreateSession(t.Context(), &backendv1.CreateSessionRequest{ProjectId: upper(project)})
	require.NoError(t, err)
	id := created.GetSession().GetId()
	require.Equal(t, project, created.GetSession().GetProjectId())

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := sessions.WatchSessions(ctx, &backendv1.WatchSessionsRequest{ProjectId: upper(project)})
	require.NoError(t, err)
	request := &backendv1.EnqueueTaskRequest{Prompt: "hello", SessionId: upper(id), ProjectId: upper(project), ClientRequestId: "Same"}
	first, err := tasks.EnqueueTask(t.Context(), request)
	require.NoError(t, err)
	require.Equal(t, id, first.GetSessionId())
	change, err := stream.Receive()
	for err == nil && change.GetResync() != nil { // the backend has just begun to listen
		change, err = stream.Receive()
	}
	require.NoError(t, err)
	require.Equal(t, id, change.GetSession().GetId(), "the session is in the project: %v", change)

	again, err := tasks.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{Prompt: "hello", SessionId: id, ProjectId: project, ClientRequestId: "Same"})
	require.NoError(t, err, "the same request in another spelling")
	require.Equal(t, first.GetRunId(), again.GetRunId())

	// A page's token belongs to the list, not to its spelling.
	for range 2 {
		_, err := tasks.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{Prompt: "more", SessionId: id})
		require.NoError(t, err)
	}
	messages, err := sessions.ListMessages(t.Context(), &backendv1.ListMessagesRequest{SessionId: upper(id), PageSize: 1})
	require.NoError(t, err)
	require.NotEmpty(t, messages.GetNextPageToken())
	_, err = sessions.ListMessages(t.Context(), &backendv1.ListMessagesRequest{SessionId: id, PageSize: 1, PageToken: messages.GetNextPageToken()})
	require.NoError(t, err)
	runs := backendv1connect.NewRunServiceClient(client)
	page, err := runs.ListRuns(t.Context(), &backendv1.ListRunsRequest{SessionId: id, PageSize: 1})
	require.NoError(t, err)
	_, err = runs.ListRuns(t.Context(), &backendv1.ListRunsRequest{SessionId: upper(id), PageSize: 1, PageToken: page.GetNextPageToken()})
	require.NoError(t, err)
}

// Every other spelling of an id is refused by name, in every RPC of the backend.
func TestOtherSpellingsOfIDsAreRefused(t *testing.T) {
	b := start(t, dbtest.URL(t, testkit.Postgres(t)))
	client := connect.NewClient(connecthttp.NewTransport(httpClient(t), b.url))
	id := uuid.New()
	spellings := []string{
		"{" + id.String() + "}", id.URN(), strings.ReplaceAll(id.String(), "-", ""), " " + id.String(), id.String() + "\n", "1",
	}
	checked := 0
	for _, name := range []string{"poco/backend/v1/task_service.proto", "poco/backend/v1/session_service.proto", "poco/backend/v1/run_service.proto",
		"poco/backend/v1/user_input_service.proto", "poco/queue/v1/run_queue_service.proto"} {
		file, err := protoregistry.GlobalFiles.FindFileByPath(name)
		require.NoError(t, err)
		methods := file.Services().Get(0).Methods()
		for i := range methods.Len() {
			method := methods.Get(i)
			for j := range method.Input().Fields().Len() {
				fd := method.Input().Fields().Get(j)
				rules, err := protovalidate.ResolveFieldRules(fd)
				require.NoError(t, err)
				if !rules.GetString().GetUuid() || method.IsStreamingServer() {
					continue
				}
				for _, spelling := range spellings {
					req := dynamicpb.NewMessage(method.Input())
					req.Set(fd, protoreflect.ValueOfString(spelling))
					err := client.CallUnary(as(t.Context(), internalToken, ""), connect.Spec{
						StreamType: connect.StreamTypeUnary, Schema: method, Procedure: "/" + string(method.Parent().FullName()) + "/" + string(method.Name()),
					}, req, dynamicpb.NewMessage(method.Output()))
					require.Equal(t, connect.CodeInvalidArgument, connect.CodeOf(err), "%s %q: %v", fd.FullName(), spelling, err)
					require.Contains(t, fields(err), string(fd.Name()))
					checked++
				}
			}
		}
	}
	require.Greater(t, checked, 100)
}
