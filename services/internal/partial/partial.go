// Package partial handles text that the model is writing, on its way to those
// who watch.
package partial

import backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"

// Size is how many bytes of text there are.
func Size(p *backendv1.PartialContent) int { return len(p.GetText()) + len(p.GetThinking()) }

// Join appends next to last when it is more of the same block, with no event in
// between. It returns false when it is not.
func Join(last, next *backendv1.PartialContent) bool {
	if last.GetAgentMessageId() != next.GetAgentMessageId() || last.GetBlockIndex() != next.GetBlockIndex() ||
		last.GetAfterRunSeq() != next.GetAfterRunSeq() {
		return false
	}
	switch delta := last.GetDelta().(type) {
	case *backendv1.PartialContent_Text:
		more, ok := next.GetDelta().(*backendv1.PartialContent_Text)
		if ok {
			delta.Text += more.Text
		}
		return ok
	case *backendv1.PartialContent_Thinking:
		more, ok := next.GetDelta().(*backendv1.PartialContent_Thinking)
		if ok {
			delta.Thinking += more.Thinking
		}
		return ok
	default:
		return false
	}
}
