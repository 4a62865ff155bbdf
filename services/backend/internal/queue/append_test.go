package queue_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/backend/internal/backendtest"
	"github.com/poco-ai/poco/services/backend/internal/queue"
	"github.com/poco-ai/poco/services/internal/rpcerror"
	"github.com/poco-ai/poco/services/internal/sanitize"
)

// events reads what watchers would see of a session.
func events(t *testing.T, b *backendtest.Backend, sessionID string) []*backendv1.SessionEvent {
	t.Helper()
	var got []*backendv1.SessionEvent
	caughtUp := false
	err := b.Sessions.Watch(t.Context(), backendtest.User, &backendv1.WatchSessionRequest{SessionId: sessionID}, func(m *backendv1.WatchSessionResponse) error {
		if e := m.GetEvent(); e != nil {
			got = append(got, e)
		}
		if m.GetCaughtUp() != nil {
			caughtUp = true
			return errStop
		}
		return nil
	})
	require.ErrorIs(t, err, errStop)
	require.True(t, caughtUp)
	for i, e := range got {
		require.Equal(t, int64(i+1), e.GetSeq(), "numbers of a session are contiguous from 1")
	}
	return got
}

var errStop = stopError("stop")

type stopError string

func (e stopError) Error() string { return string(e) }

func runSeqs(list []*backendv1.SessionEvent) []int64 {
	var seqs []int64
	for _, e := range list {
		if e.GetRunSeq() > 0 {
			seqs = append(seqs, e.GetRunSeq())
		}
	}
	return seqs
}

func requireReason(t *testing.T, err error, reason backendv1.ErrorReason) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, reason, rpcerror.Reason(err), "%v", err)
}

func TestAppendStoresEachEventOnce(t *testing.T) {
	b := backendtest.New(t)
	c := b.Start(t, "w1")
	id, token := c.GetRun().GetId(), c.GetFencingToken()
	one, two, three := backendtest.Text(1, "one"), backendtest.Text(2, "two"), backendtest.Text(3, "three")

	require.Equal(t, int64(2), b.Append(t, c, one, two).Seq)
	require.Equal(t, int64(2), b.Append(t, c, one, two).Seq, "the same batch again")
	require.Equal(t, int64(3), b.Append(t, c, two, three).Seq, "a batch that overlaps")
	require.Equal(t, int64(3), b.Append(t, c).Seq, "an empty batch asks for the number")

	_, err := b.Queue.Append(t.Context(), id, token, 0, []*executorv1.RunEvent{backendtest.Text(5, "five")}, nil)
	requireReason(t, err, backendv1.ErrorReason_ERROR_REASON_RUN_SEQ_GAP)
	require.Equal(t, "4", rpcerror.Metadata(err)["expected_run_seq"])

	_, err = b.Queue.Append(t.Context(), id, token-1, 0, []*executorv1.RunEvent{one}, nil)
	requireReason(t, err, backendv1.ErrorReason_ERROR_REASON_FENCING_TOKEN_STALE)

	require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, b.Append(t, c, backendtest.Finished(4, completed)).Status)
	ack := b.Append(t, c, three, backendtest.Finished(4, completed))
	require.Equal(t, queue.Ack{Seq: 4, Status: completed}, ack, "acknowledged again after the end")
	_, err = b.Queue.Append(t.Context(), id, token, 0, []*executorv1.RunEvent{backendtest.Text(5, "late")}, nil)
	requireReason(t, err, backendv1.ErrorReason_ERROR_REASON_RUN_FINISHED)

	require.Equal(t, []int64{1, 2, 3, 4}, runSeqs(events(t, b, c.GetRun().GetSessionId())))
}

func TestAppendRefusesWhatNoExecutorSends(t *testing.T) {
	b := backendtest.New(t)
	c := b.Start(t, "w1")
	for name, batch := range map[string][]*executorv1.RunEvent{
		"number 0":            {backendtest.Text(0, "x")},
		"not contiguous":      {backendtest.Text(1, "x"), backendtest.Text(3, "x")},
		"no payload":          {{RunSeq: 1}},
		"event after the end": {backendtest.Finished(1, completed), backendtest.Text(2, "x")},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := b.Queue.Append(t.Context(), c.GetRun().GetId(), c.GetFencingToken(), 0, batch, nil)
			requireReason(t, err, backendv1.ErrorReason_ERROR_REASON_INVALID_ARGUMENT)
		})
	}
}

// Every kind of event that an executor has is stored as what it is, and no kind
// of the backend's own, whatever is on the wire.
func TestKindsOfEvents(t *testing.T) {
	b := backendtest.New(t)
	c := b.Start(t, "w1")
	var batch []*executorv1.RunEvent
	var want []protoreflect.Name
	kinds := (*executorv1.RunEventPayload)(nil).ProtoReflect().Descriptor().Fields()
	all := (*backendv1.EventPayload)(nil).ProtoReflect().Descriptor().Fields()
	for i := range all.Len() { // the backend's own first: RunFinished ends the batch
		if kinds.ByNumber(all.Get(i).Number()) == nil {
			forged := new(executorv1.RunEventPayload)
			forged.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, all.Get(i).Number(), protowire.BytesType), nil))
			batch, want = append(batch, backendtest.Event(int64(len(batch)+1), forged)), append(want, "")
		}
	}
	require.NotEmpty(t, batch)
	for i := range kinds.Len() {
		reported := new(executorv1.RunEventPayload)
		reported.ProtoReflect().Mutable(kinds.Get(i))
		batch, want = append(batch, backendtest.Event(int64(len(batch)+1), reported)), append(want, kinds.Get(i).Name())
	}
	b.Append(t, c, batch...)

	var got []protoreflect.Name
	for _, e := range events(t, b, c.GetRun().GetSessionId()) {
		if e.GetRunSeq() == 0 {
			continue
		}
		payload := e.GetPayload().ProtoReflect()
		require.Empty(t, payload.GetUnknown())
		kind := payload.WhichOneof(payload.Descriptor().Oneofs().Get(0))
		if kind == nil {
			got = append(got, "")
		} else {
			got = append(got, kind.Name())
		}
	}
	require.Equal(t, want, got)
}

func TestConcurrentAppendsOfTheSameEvents(t *testing.T) {
	b := backendtest.New(t)
	c := b.Start(t, "w1")
	var batch []*executorv1.RunEvent
	for i := range int64(50) {
		batch = append(batch, backendtest.Text(i+1, "text"))
	}
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	for range 8 {
		copied := make([]*executorv1.RunEvent, len(batch))
		for i, e := range batch {
			copied[i] = proto.CloneOf(e)
		}
		wg.Go(func() {
			_, err := b.Queue.Append(t.Context(), c.GetRun().GetId(), c.GetFencingToken(), 0, copied, nil)
			errs <- err
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	require.Len(t, runSeqs(events(t, b, c.GetRun().GetSessionId())), 50)
}

func TestProjections(t *testing.T) {
	b := backendtest.New(t)
	c := b.Start(t, "w1")
	sessionID := c.GetRun().GetSessionId()
	input, err := structpb.NewStruct(map[string]any{"command": "ls"})
	require.NoError(t, err)
	use := backendtest.Message(2, &backendv1.ContentBlock{Kind: &backendv1.ContentBlock_ToolUse{
		ToolUse: &backendv1.ToolUseBlock{Id: "toolu_1", Name: "Bash", Input: input},
	}})
	result := backendtest.Message(3,
		&backendv1.ContentBlock{Kind: &backendv1.ContentBlock_ToolResult{ToolResult: &backendv1.ToolResultBlock{ToolUseId: "toolu_1", Content: "a\x00b"}}},
		&backendv1.ContentBlock{Kind: &backendv1.ContentBlock_ToolResult{ToolResult: &backendv1.ToolResultBlock{ToolUseId: "toolu_2", Content: "?", IsError: true}}},
	)
	result.OccurredAt = timestamppb.New(use.GetOccurredAt().AsTime().Add(2 * time.Second))
	b.Append(t, c,
		backendtest.Event(1, &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_AgentStarted{AgentStarted: &backendv1.AgentStarted{
			AgentSessionId: "agent-1", McpServers: []*backendv1.McpServer{{Name: "m"}},
		}}}),
		use, result,
		backendtest.Event(4, &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_TodosChanged{TodosChanged: &backendv1.TodosChanged{
			Todos: []*backendv1.Todo{
				{Id: "1", Status: backendv1.TodoStatus_TODO_STATUS_COMPLETED}, {Id: "2", Status: backendv1.TodoStatus_TODO_STATUS_IN_PROGRESS},
			}, CurrentStep: "Doing 2",
		}}}),
		backendtest.Event(5, &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_FilesChanged{FilesChanged: &backendv1.FilesChanged{
			Files: []*backendv1.FileChange{{Path: "a.txt", Diff: "+a"}}, TotalAdditions: 1,
		}}}),
		backendtest.Question(6, uuid.NewString(), time.Now().Add(time.Hour)),
	)
	r := b.Run(t, c.GetRun().GetId())
	require.Equal(t, int32(50), r.GetProgress())

	b.Append(t, c, backendtest.Finished(7, completed))
	s := b.Session(t, sessionID)
	require.Equal(t, backendv1.SessionStatus_SESSION_STATUS_COMPLETED, s.GetStatus())
	require.Equal(t, backendv1.ExportStatus_EXPORT_STATUS_PENDING, s.GetExport().GetStatus())
	require.Empty(t, s.GetActiveRunId())
	require.Equal(t, "Doing 2", s.GetState().GetCurrentStep())
	require.Len(t, s.GetState().GetTodos(), 2)
	require.Len(t, s.GetState().GetMcpServers(), 1)
	require.Equal(t, "a.txt", s.GetState().GetFiles().GetFiles()[0].GetPath())
	require.Empty(t, s.GetState().GetFiles().GetFiles()[0].GetDiff(), "diffs are in the event only")
	require.InDelta(t, 0.5, s.GetState().GetUsage().GetTotalCostUsd(), 1e-9)

	tools, err := b.Sessions.ListToolExecutions(t.Context(), &backendv1.ListToolExecutionsRequest{SessionId: sessionID})
	require.NoError(t, err)
	require.Len(t, tools.GetToolExecutions(), 2)
	bash, unknown := tools.GetToolExecutions()[0], tools.GetToolExecutions()[1]
	require.Equal(t, "Bash", bash.GetToolName())
	require.Equal(t, "ls", bash.GetInput().GetFields()["command"].GetStringValue())
	require.Equal(t, "a\u2400b", bash.GetOutput().GetFields()["content"].GetStringValue(), "a NUL is replaced visibly")
	require.Equal(t, 2*time.Second, bash.GetDuration().AsDuration())
	require.Equal(t, "unknown", unknown.GetToolName())
	require.True(t, unknown.GetIsError())

	questions, err := b.Questions.ListUserInputRequests(t.Context(), &backendv1.ListUserInputRequestsRequest{SessionId: sessionID})
	require.NoError(t, err)
	require.Len(t, questions.GetUserInputRequests(), 1)
	require.Equal(t, backendv1.UserInputStatus_USER_INPUT_STATUS_CANCELED, questions.GetUserInputRequests()[0].GetStatus())

	messages, err := b.Sessions.ListMessages(t.Context(), &backendv1.ListMessagesRequest{SessionId: sessionID, IncludeVerbatim: true, PageSize: 2})
	require.NoError(t, err)
	require.Equal(t, "do it", messages.GetMessages()[0].GetTextPreview())
	require.NotEmpty(t, messages.GetMessages()[1].GetVerbatimJson())
	require.NotEmpty(t, messages.GetNextPageToken())
	messages, err = b.Sessions.ListMessages(t.Context(), &backendv1.ListMessagesRequest{
		SessionId: sessionID, IncludeVerbatim: true, PageSize: 2, PageToken: messages.GetNextPageToken(),
	})
	require.NoError(t, err)
	require.Len(t, messages.GetMessages(), 1)
	require.Empty(t, messages.GetNextPageToken())

	// A follow-up resumes the conversation and forgets what the first run showed.
	b.Enqueue(t, sessionID, "more")
	s = b.Session(t, sessionID)
	require.Empty(t, s.GetState().GetTodos())
	require.Equal(t, "agent-1", b.Claim(t, "w1").GetAgentSessionId())
}

func TestHugeEventIsCut(t *testing.T) {
	b := backendtest.New(t)
	c := b.Start(t, "w1")
	e := backendtest.Text(1, strings.Repeat("ä\x00", 3<<20))
	e.GetPayload().GetMessageAdded().VerbatimJson = strings.Repeat("v", 1<<20)
	b.Append(t, c, e)
	list := events(t, b, c.GetRun().GetSessionId())
	last := list[len(list)-1]
	require.Less(t, proto.Size(last), sanitize.MaxEventBytes+1000)
	require.Contains(t, last.GetPayload().GetMessageAdded().GetBlocks()[0].GetText().GetText(), "[cut, ")
}

func TestCancelAgainstCompletion(t *testing.T) {
	b := backendtest.New(t)
	c := b.Start(t, "w1")
	id := c.GetRun().GetId()
	r := b.Cancel(t, id, "enough")
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_CANCELING, r.GetStatus())
	commands := b.Commands(t, "w1")
	require.Len(t, commands, 1)
	require.Equal(t, "enough", commands[0].GetCancel().GetReason())

	ack := b.Append(t, c, backendtest.Finished(1, completed))
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_CANCELED, ack.Status, "the cancel was committed first")
	for _, e := range events(t, b, c.GetRun().GetSessionId()) {
		if f := e.GetPayload().GetRunFinished(); f != nil {
			require.Equal(t, backendv1.RunStatus_RUN_STATUS_CANCELED, f.GetStatus())
		}
	}
	commands = b.Commands(t, "w1")
	require.Empty(t, commands)

	// Both at once: one of the two wins, and the run agrees with itself.
	for range 20 {
		c := b.Start(t, "w1")
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := b.Runs.CancelRun(t.Context(), &backendv1.CancelRunRequest{RunId: c.GetRun().GetId()})
			if err != nil {
				t.Error(err)
			}
		})
		ack := b.Append(t, c, backendtest.Finished(1, completed))
		wg.Wait()
		r := b.Run(t, c.GetRun().GetId())
		require.Equal(t, ack.Status, r.GetStatus(), "a final state never changes")
	}
}

func TestStartAfterCancel(t *testing.T) {
	b := backendtest.New(t)
	b.Enqueue(t, "", "x")
	c := b.Claim(t, "w1")
	b.Cancel(t, c.GetRun().GetId(), "")
	_, err := b.Queue.Start(t.Context(), c.GetRun().GetId(), c.GetFencingToken())
	requireReason(t, err, backendv1.ErrorReason_ERROR_REASON_RUN_CANCELED)
}

func TestLeases(t *testing.T) {
	b := backendtest.New(t)
	expire := func(c *queuev1.ClaimedRun) {
		_, err := b.Pool.Exec(t.Context(), `UPDATE runs SET lease_expires_at = now() - interval '1 second' WHERE id = $1`, c.GetRun().GetId())
		require.NoError(t, err)
	}
	status := func(c *queuev1.ClaimedRun) *backendv1.Run {
		r := b.Run(t, c.GetRun().GetId())
		return r
	}

	t.Run("a run that has not started is queued again", func(t *testing.T) {
		b.Enqueue(t, "", "x")
		c := b.Claim(t, "w1")
		expire(c)
		again := b.Claim(t, "w1")
		require.Equal(t, c.GetRun().GetId(), again.GetRun().GetId())
		require.Greater(t, again.GetFencingToken(), c.GetFencingToken())
		require.Equal(t, int32(2), again.GetRun().GetAttempt())
		_, err := b.Queue.Start(t.Context(), c.GetRun().GetId(), c.GetFencingToken())
		requireReason(t, err, backendv1.ErrorReason_ERROR_REASON_FENCING_TOKEN_STALE)
	})
	t.Run("a run whose agent is not known to have the prompt is queued again", func(t *testing.T) {
		c := b.Start(t, "w1")
		require.False(t, c.GetPromptOffered())
		expire(c)
		again := b.Claim(t, "w1")
		require.Equal(t, c.GetRun().GetId(), again.GetRun().GetId())
		require.False(t, again.GetPromptSubmitted())
		require.True(t, again.GetPromptOffered(), "an executor may have given it to one")
		b.Cancel(t, c.GetRun().GetId(), "")
		expire(again)
		require.NoError(t, b.Queue.ExpireLeases(t.Context()))
	})
	t.Run("a run whose agent had the prompt is lost", func(t *testing.T) {
		c := b.Start(t, "w1")
		b.Append(t, c, backendtest.AgentStarted(1, "agent-0"))
		expire(c)
		require.NoError(t, b.Queue.ExpireLeases(t.Context()))
		require.Equal(t, backendv1.RunStatus_RUN_STATUS_FAILED, status(c).GetStatus())
		require.Equal(t, backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, status(c).GetStatusReason())
		_, err := b.Queue.Append(t.Context(), c.GetRun().GetId(), c.GetFencingToken(), 0, []*executorv1.RunEvent{backendtest.Text(2, "late")}, nil)
		requireReason(t, err, backendv1.ErrorReason_ERROR_REASON_FENCING_TOKEN_STALE)
	})
	t.Run("a canceled run ends canceled", func(t *testing.T) {
		c := b.Start(t, "w1")
		b.Cancel(t, c.GetRun().GetId(), "")
		expire(c)
		require.NoError(t, b.Queue.ExpireLeases(t.Context()))
		require.Equal(t, backendv1.RunStatus_RUN_STATUS_CANCELED, status(c).GetStatus())
	})
	t.Run("a run is resumed once when its policy says so", func(t *testing.T) {
		_, err := b.Tasks.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{
			Prompt: "x", Config: &backendv1.TaskConfig{LostExecutorPolicy: backendv1.LostExecutorPolicy_LOST_EXECUTOR_POLICY_RESUME.Enum()},
		})
		require.NoError(t, err)
		c := b.Claim(t, "w1")
		_, err = b.Queue.Start(t.Context(), c.GetRun().GetId(), c.GetFencingToken())
		require.NoError(t, err)
		b.Append(t, c, backendtest.AgentStarted(1, "agent-1"))
		expire(c)
		again := b.Claim(t, "w1")
		require.Equal(t, c.GetRun().GetId(), again.GetRun().GetId())
		require.True(t, again.GetPromptSubmitted())
		require.Equal(t, int64(2), again.GetNextRunSeq())
		require.Equal(t, "agent-1", again.GetAgentSessionId())
		_, err = b.Queue.Start(t.Context(), again.GetRun().GetId(), again.GetFencingToken())
		require.NoError(t, err)
		expire(again)
		require.NoError(t, b.Queue.ExpireLeases(t.Context()))
		require.Equal(t, backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, status(c).GetStatusReason(), "only once")
	})
	t.Run("the sweep acts by itself", func(t *testing.T) {
		b.Enqueue(t, "", "x")
		runs, err := b.Queue.Claim(t.Context(), "w1", 1, nil, time.Second)
		require.NoError(t, err)
		require.Len(t, runs, 1)
		watchUntil(t, b, runs[0].GetRun().GetSessionId(), func(e *backendv1.SessionEvent) bool {
			changed := e.GetPayload().GetRunStatusChanged()
			return changed.GetStatus() == backendv1.RunStatus_RUN_STATUS_QUEUED && changed.GetAttempt() == 1
		})
		b.Claim(t, "w1")
	})
	t.Run("renewal and adoption", func(t *testing.T) {
		c := b.Start(t, "w9")
		lease := &queuev1.Lease{RunId: c.GetRun().GetId(), FencingToken: c.GetFencingToken()}
		stale := &queuev1.Lease{RunId: c.GetRun().GetId(), FencingToken: c.GetFencingToken() - 1}
		renewals, err := b.Queue.Renew(t.Context(), "w9", []*queuev1.Lease{lease, stale, {RunId: uuid.NewString()}}, time.Minute)
		require.NoError(t, err)
		require.True(t, renewals[0].GetRenewed())
		require.Equal(t, time.Minute, renewals[0].GetLeaseDuration().AsDuration())
		require.False(t, renewals[1].GetRenewed())
		require.False(t, renewals[2].GetRenewed())
		renewals, err = b.Queue.Renew(t.Context(), "w8", []*queuev1.Lease{lease}, time.Minute)
		require.NoError(t, err)
		require.False(t, renewals[0].GetRenewed(), "another worker's")

		adopted, err := b.Queue.Adopt(t.Context(), "w9", backendtest.Lease)
		require.NoError(t, err)
		require.Len(t, adopted, 1)
		require.Greater(t, adopted[0].GetFencingToken(), c.GetFencingToken())
		_, err = b.Queue.Append(t.Context(), c.GetRun().GetId(), c.GetFencingToken(), 0, []*executorv1.RunEvent{backendtest.Text(1, "old")}, nil)
		requireReason(t, err, backendv1.ErrorReason_ERROR_REASON_FENCING_TOKEN_STALE)
		b.Append(t, adopted[0], backendtest.Text(1, "new"))
	})
}

// watchUntil follows a session until an event is what was waited for.
func watchUntil(t *testing.T, b *backendtest.Backend, sessionID string, found func(*backendv1.SessionEvent) bool) {
	t.Helper()
	err := b.Sessions.Watch(t.Context(), backendtest.User, &backendv1.WatchSessionRequest{SessionId: sessionID}, func(m *backendv1.WatchSessionResponse) error {
		if m.GetEvent() != nil && found(m.GetEvent()) {
			return errStop
		}
		return nil
	})
	require.ErrorIs(t, err, errStop)
}
