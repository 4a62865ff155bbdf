package run

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func added(verbatim string, blocks ...*backendv1.ContentBlock) *executorv1.RunEventPayload {
	return &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_MessageAdded{MessageAdded: &backendv1.MessageAdded{
		VerbatimJson: verbatim, Blocks: blocks,
	}}}
}

func result(id, content string) *backendv1.ContentBlock {
	return &backendv1.ContentBlock{Kind: &backendv1.ContentBlock_ToolResult{
		ToolResult: &backendv1.ToolResultBlock{ToolUseId: id, Content: content},
	}}
}

func TestCut(t *testing.T) {
	long := strings.Repeat("ä", 50_000)
	quoted, err := json.Marshal(map[string]any{"message": long, "tool_use_result": []string{long}})
	require.NoError(t, err)
	many, err := json.Marshal(strings.Split(strings.Repeat("x,", 50_000), ","))
	require.NoError(t, err)
	input, err := structpb.NewStruct(map[string]any{"content": long, "file_path": "/a"})
	require.NoError(t, err)
	use := &backendv1.ContentBlock{Kind: &backendv1.ContentBlock_ToolUse{ToolUse: &backendv1.ToolUseBlock{Id: "u", Input: input}}}
	cases := map[string]*executorv1.RunEventPayload{
		"tool result": added(string(quoted), result("t", long)),
		"tool input":  added(string(quoted), use),
		"many items":  added(string(many)),
		"two results": added("{}", result("t", long), result("u", long)),
	}
	for name, payload := range cases {
		t.Run(name, func(t *testing.T) {
			kept := map[string]string{}
			cut(payload, 8<<10, func(id, text string) (string, error) { kept[id] = text; return "kept/" + id, nil })
			require.LessOrEqual(t, proto.Size(payload), 8<<10)
			m := payload.GetMessageAdded()
			require.True(t, json.Valid([]byte(m.GetVerbatimJson())))
			for _, b := range m.GetBlocks() {
				if r := b.GetToolResult(); r != nil {
					require.True(t, r.GetTruncated())
					require.EqualValues(t, len(long), r.GetFullSize())
					require.Contains(t, r.GetContent(), "of 100000 bytes; the whole text is in kept/"+r.GetToolUseId())
					require.Equal(t, long, kept[r.GetToolUseId()])
					require.True(t, utf8.ValidString(r.GetContent()))
				}
			}
		})
	}
	require.Equal(t, "/a", use.GetToolUse().GetInput().GetFields()["file_path"].GetStringValue())
}

func TestCutLeavesWhatFitsAlone(t *testing.T) {
	payload := added(`{"a":1}`, result("t", "short"))
	before := proto.CloneOf(payload)
	cut(payload, 0, func(string, string) (string, error) { return "", errors.New("nothing to keep") })
	require.True(t, proto.Equal(before, payload))
}

func TestCutTextAtRuneBorders(t *testing.T) {
	for size := range 12 {
		got := cutText("aä€😀bcdefghijkl", size, "")
		require.True(t, utf8.ValidString(got))
		require.NotContains(t, got, "\uFFFD")
	}
}

// leaseLog is what became of an agent under a lease, in order.
type leaseLog chan string

func (log leaseLog) lease(ttl time.Duration) *lease {
	note := func(what string) func() { return func() { log <- what } }
	return newLease(ttl, note("held"), note("released"), note("expired"))
}

// An agent whose lease ran out does nothing, and goes on when the manager has
// renewed it: the backend was away for longer than the lease.
func TestLeaseThatIsRenewedLateGoesOn(t *testing.T) {
	log := make(leaseLog, 10)
	l := log.lease(time.Hour)
	defer l.stop()
	require.True(t, l.mayReport())
	l.check()
	l.renew(0)
	require.Equal(t, "held", <-log)
	require.False(t, l.mayReport(), "nothing may be reported while it is not known whose the run is")
	l.renew(0)
	l.renew(-time.Second)
	l.check()
	require.Empty(t, log, "the manager waits, and so does the agent")
	l.renew(time.Hour)
	require.Equal(t, "released", <-log)
	require.True(t, l.mayReport())
	l.renew(time.Hour)
	require.Empty(t, log)
}

// Without any sign of a manager an agent is held, and then stopped for good.
func TestLeaseEndsWithoutASignOfTheManager(t *testing.T) {
	log := make(leaseLog, 10)
	l := log.lease(time.Millisecond)
	require.Equal(t, "held", <-log)
	require.Equal(t, "expired", <-log)
	require.False(t, l.mayReport(), "nothing may be reported after the lease ran out")
	l.renew(time.Hour)
	require.True(t, l.mayReport(), "until the manager is heard of again")
	l.check()
	require.Empty(t, log, "the agent stays stopped")
	l.stop()
}

// TestAnExecutorThatIsAbandonedEnds counts from the last sign of a manager.
func TestAnExecutorThatIsAbandonedEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Settings{})
		began := time.Now()
		time.Sleep(AbandonedAfter - time.Second)
		require.True(t, s.Status().GetIdle())
		<-s.Abandoned()
		require.Equal(t, 2*AbandonedAfter-time.Second, time.Since(began))
		require.NoError(t, s.Close(t.Context()))
	})
}

// TestLeaseFoundExpiredOnWaking is what happens after the process was frozen:
// the deadline is over before the timer had a chance.
func TestLeaseFoundExpiredOnWaking(t *testing.T) {
	log := make(leaseLog, 10)
	l := log.lease(time.Hour)
	defer l.stop()
	l.mu.Lock()
	l.deadline, l.next = time.Now().Add(-time.Second), time.Now().Add(-time.Second)
	l.mu.Unlock()
	require.False(t, l.mayReport())
	l.check()
	require.Equal(t, "held", <-log)
}

func TestPrompt(t *testing.T) {
	request := &executorv1.StartRunRequest{Prompt: "do it"}
	require.Equal(t, "do it", prompt(request, "inputs"))
	request.Config = &backendv1.TaskConfig{InputFiles: []*backendv1.InputFile{{Name: "a.txt"}, {Name: "b", Path: "../x/b.txt"}}}
	require.Equal(t, "The user added these inputs. Do not modify them unless asked:\n- inputs/a.txt\n- inputs/x/b.txt\n\ndo it", prompt(request, "inputs"))
}
