// Package growth_test bounds what calls cost when there is much to read.
package growth_test

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/backend/internal/backendtest"
	"github.com/poco-ai/poco/services/backend/internal/page"
)

// allocated is how many bytes a call allocates: what it reads, and what it
// makes of that. The backend's other work at the same time is small.
func allocated(t *testing.T, call func()) int64 {
	t.Helper()
	call() // statements are prepared, connections open
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	call()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc) //nolint:gosec // a test's memory
}

// Whatever the prompts are, neither a list of runs nor a change of one reads
// them.
func TestPromptsAreReadByClaimsOnly(t *testing.T) {
	const runs, promptBytes = 30, 1 << 20
	cost := func(prompt string) map[string]int64 {
		b := backendtest.New(t)
		first := b.Enqueue(t, "", prompt)
		for range runs - 1 {
			b.Enqueue(t, first.GetSessionId(), prompt)
		}
		claimed := b.Claim(t, "w1")
		require.Len(t, claimed.GetPrompt(), len(prompt), "the claim has it")
		id, token := claimed.GetRun().GetId(), claimed.GetFencingToken()
		_, err := b.Queue.Start(t.Context(), id, token)
		require.NoError(t, err)
		seq := int64(0)
		costs := map[string]int64{
			"list": allocated(t, func() {
				got, err := b.Runs.ListRuns(t.Context(), &backendv1.ListRunsRequest{PageSize: 500})
				require.NoError(t, err)
				require.Len(t, got.GetRuns(), runs)
			}),
			"list of session": allocated(t, func() {
				_, err := b.Runs.ListRuns(t.Context(), &backendv1.ListRunsRequest{PageSize: 500, SessionId: first.GetSessionId()})
				require.NoError(t, err)
			}),
			"append": allocated(t, func() {
				seq++
				b.Append(t, claimed, backendtest.Text(seq, "hello"))
			}),
			"get": allocated(t, func() {
				b.Run(t, id)
			}),
			"sessions": allocated(t, func() {
				_, err := b.Sessions.ListSessions(t.Context(), &backendv1.ListSessionsRequest{})
				require.NoError(t, err)
			}),
		}
		costs["cancel all"] = allocated(t, func() {
			_, err := b.Sessions.CancelSession(t.Context(), &backendv1.CancelSessionRequest{SessionId: first.GetSessionId(), Reason: "enough"})
			require.NoError(t, err)
		})
		return costs
	}
	small, large := cost("x"), cost(strings.Repeat("x", promptBytes))
	for call := range small {
		require.Less(t, large[call], small[call]+promptBytes/2, "%s: %d bytes with small prompts", call, small[call])
	}
}

// What sessions show may be long; a page of them is bounded all the same.
func TestPagesOfSessionsAreBoundedByBytes(t *testing.T) {
	const sessions, stateBytes = 24, 1 << 20
	b := backendtest.New(t)
	var all []string
	for range sessions {
		all = append(all, b.Enqueue(t, "", "x").GetSessionId())
	}
	runs, err := b.Queue.Claim(t.Context(), "w1", sessions, nil, backendtest.Lease)
	require.NoError(t, err)
	for _, c := range runs {
		_, err := b.Queue.Start(t.Context(), c.GetRun().GetId(), c.GetFencingToken())
		require.NoError(t, err)
		b.Append(t, c, backendtest.Event(1, &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_TodosChanged{TodosChanged: &backendv1.TodosChanged{
			Todos: []*backendv1.Todo{{Content: strings.Repeat("x", stateBytes)}},
		}}}))
	}
	var seen []string
	token := ""
	for pages := 1; ; pages++ {
		require.LessOrEqual(t, pages, sessions)
		var got *backendv1.ListSessionsResponse
		used := allocated(t, func() {
			var err error
			got, err = b.Sessions.ListSessions(t.Context(), &backendv1.ListSessionsRequest{
				PageSize: 500, PageToken: token, View: backendv1.SessionView_SESSION_VIEW_FULL,
			})
			require.NoError(t, err)
		})
		require.LessOrEqual(t, proto.Size(got), page.MaxBytes)
		require.Less(t, used, int64(8*page.MaxBytes), "it reads no more than it shows")
		for _, s := range got.GetSessions() {
			seen = append(seen, s.GetId())
		}
		if token = got.GetNextPageToken(); token == "" {
			break
		}
	}
	require.ElementsMatch(t, all, seen, "no page loses a session")

	// A list of what sessions are called reads nothing of what they show.
	used := allocated(t, func() {
		got, err := b.Sessions.ListSessions(t.Context(), &backendv1.ListSessionsRequest{PageSize: 500})
		require.NoError(t, err)
		require.Len(t, got.GetSessions(), sessions)
		require.Nil(t, got.GetSessions()[0].GetState())
		require.Nil(t, got.GetSessions()[0].GetConfig())
	})
	require.Less(t, used, int64(stateBytes))

	// An append that shows nothing new does not read what is shown.
	seq := int64(1)
	used = allocated(t, func() {
		seq++
		b.Append(t, runs[0], backendtest.Text(seq, "hello"))
	})
	require.Less(t, used, int64(stateBytes))
}

func TestPagesOfQuestionsAreBoundedByBytes(t *testing.T) {
	const questions, textBytes = 24, 1 << 20
	b := backendtest.New(t)
	c := b.Start(t, "w1")
	for i := range int64(questions) {
		e := backendtest.Question(i+1, uuid.NewString(), time.Now().Add(time.Hour))
		e.GetPayload().GetUserInputRequested().ToolUseId = strings.Repeat("x", textBytes) // read, but not shown
		b.Append(t, c, e)
	}
	for _, session := range []string{"", c.GetRun().GetSessionId()} {
		seen := 0
		token := ""
		for {
			var got *backendv1.ListUserInputRequestsResponse
			used := allocated(t, func() {
				var err error
				got, err = b.Questions.ListUserInputRequests(t.Context(), &backendv1.ListUserInputRequestsRequest{
					PageSize: 500, PageToken: token, SessionId: session,
				})
				require.NoError(t, err)
			})
			require.Less(t, used, int64(8*page.MaxBytes))
			seen += len(got.GetUserInputRequests())
			if token = got.GetNextPageToken(); token == "" {
				break
			}
		}
		require.Equal(t, questions, seen)
	}
}
