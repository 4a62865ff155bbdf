package claude

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/poco-ai/poco/services/internal/sanitize"
)

// noticeUnread is the code of the notice that the record may lack something.
const noticeUnread = "conversation_unread"

// catchUp reports what the agent before this one wrote into its conversation
// and nobody heard of: it had printed it to an executor that was killed before it
// read it, or not printed it yet. Without that a run would end as if it had not
// been said.
func (a *Agent) catchUp(ctx context.Context) {
	lost := a.opts.Resumes
	if lost == nil || a.opts.ResumeID == "" {
		return
	}
	lines, err := written(a.opts.StateDir, a.opts.ResumeID, lost.PromptID)
	if err != nil {
		a.notice(noticeUnread, fmt.Sprintf("What the agent said before it was lost cannot be read, and may not be shown in full: %v.", err))
		return
	}
	for _, data := range lines {
		var m wireMessage
		data = sanitize.JSON(data)
		if json.Unmarshal(data, &m) != nil {
			continue
		}
		// What is in the record already still counts for the to-do list.
		t := a.translator.translate(data, &m)
		if lost.Reported[m.UUID] {
			continue
		}
		if !a.awaitRoom(ctx) {
			return
		}
		for _, payload := range t.payloads {
			a.sink.Emit(payload)
		}
	}
	a.translator.forget("") // A call without an answer was lost with its agent.
}

// restoreConversation has the conversation say what the record says. It comes
// before the CLI reads it.
func (a *Agent) restoreConversation() {
	lost := a.opts.Resumes
	if lost == nil || a.opts.ResumeID == "" || len(lost.Latest) == 0 {
		return
	}
	before := ""
	if len(lost.Latest) == len(lost.Reported) { // all of them, from the first answer to the prompt on
		before = lost.PromptID
	}
	if err := restore(a.opts.StateDir, a.opts.ResumeID, before, lost.Latest); err != nil {
		a.notice(noticeUnread, fmt.Sprintf("The agent may not know the last of what it did before it was lost, and do it again: %v.", err))
	}
}

// awaitRoom waits until the sink takes more; false when ctx ends first.
func (a *Agent) awaitRoom(ctx context.Context) bool {
	for room := a.sink.Room(); room != nil; room = a.sink.Room() {
		select {
		case <-room:
		case f := <-a.calls:
			f()
		case <-ctx.Done():
			return false
		}
	}
	return true
}
