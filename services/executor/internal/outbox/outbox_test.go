package outbox

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
)

func notice(text string) *executorv1.RunEventPayload {
	return &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_Notice{Notice: &backendv1.Notice{Text: text}}}
}

func text(message string, block int32, s string) *backendv1.PartialContent {
	return &backendv1.PartialContent{AgentMessageId: message, BlockIndex: block, Delta: &backendv1.PartialContent_Text{Text: s}}
}

func seqs(events []*executorv1.RunEvent) (out []int64) {
	for _, e := range events {
		out = append(out, e.GetRunSeq())
	}
	return out
}

func TestNumbersAndAcknowledgements(t *testing.T) {
	o := New("r", 5)
	for range 4 {
		o.Append(notice("x"))
	}
	require.Equal(t, []int64{5, 6, 7, 8}, seqs(o.After(4, 1<<20)))
	require.Equal(t, []int64{7, 8}, seqs(o.After(6, 1<<20)))
	require.Equal(t, []int64{5}, seqs(o.After(4, 1)), "at least one event, however small the limit")
	require.Empty(t, o.After(8, 1<<20))

	o.Ack(6)
	o.Ack(5) // Late and lower: nothing.
	require.Equal(t, []int64{7, 8}, seqs(o.After(0, 1<<20)))
	o.Close()
	require.False(t, o.Delivered())
	o.Ack(99) // More than was ever sent.
	last, acked := o.Position()
	require.EqualValues(t, 8, last)
	require.EqualValues(t, 8, acked)
	require.True(t, o.Delivered())
}

func TestRoom(t *testing.T) {
	o := New("r", 1)
	for range maxEvents {
		require.Nil(t, o.Room())
		o.Append(notice("x"))
	}
	room := o.Room()
	require.NotNil(t, room)
	o.Ack(1)
	<-room
	require.Nil(t, o.Room())
}

func TestChangedTellsOfEveryChange(t *testing.T) {
	o := New("r", 1)
	for name, change := range map[string]func(){
		"append": func() { o.Append(notice("x")) }, "ack": func() { o.Ack(1) },
		"partial": func() { o.Partial(text("m", 0, "x")) }, "close": o.Close,
	} {
		if name == "ack" {
			o.Append(notice("x"))
		}
		changed := o.Changed()
		change()
		select {
		case <-changed:
		default:
			t.Fatal("nothing was told of: ", name)
		}
	}
}

func TestPartialsAreJoinedAndDropped(t *testing.T) {
	o := New("r", 1)
	now := time.Unix(0, 0)
	o.now = func() time.Time { return now }
	o.Append(notice("x"))
	o.Partial(text("m", 0, "Hel"))
	o.Partial(text("m", 0, "lo"))
	o.Partial(text("m", 1, "!"))
	none, wait := o.TakePartials()
	require.Empty(t, none)
	require.Equal(t, PartialDelay, wait)
	now = now.Add(PartialDelay)
	got, _ := o.TakePartials()
	require.Len(t, got, 2)
	require.Equal(t, "Hello", got[0].GetText())
	require.Equal(t, "r", got[0].GetRunId())
	require.EqualValues(t, 1, got[0].GetAfterRunSeq())

	o.Partial(text("m", 0, strings.Repeat("x", partialFlush)))
	got, _ = o.TakePartials()
	require.Len(t, got, 1, "much text does not wait")

	o.Partial(text("m", 0, "soon obsolete"))
	o.Append(&executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_MessageAdded{
		MessageAdded: &backendv1.MessageAdded{Role: backendv1.MessageRole_MESSAGE_ROLE_ASSISTANT},
	}})
	got, wait = o.TakePartials()
	require.Empty(t, got)
	require.Zero(t, wait)

	o.Partial(text("m", 0, strings.Repeat("x", maxPartialBytes)))
	o.Partial(text("m", 0, "one more"))
	got, _ = o.TakePartials()
	require.Empty(t, got, "nobody takes it: it is dropped, not kept")
}
