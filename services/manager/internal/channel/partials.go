package channel

import (
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

// partialBuffer holds text being written until it is forwarded. It is bounded:
// when watchers cannot be served fast enough, text is dropped, because the
// whole of it follows as a message.
type partialBuffer struct {
	list  []*backendv1.PartialContent
	bytes int
}

// add appends p, to the last one where it goes on.
func (b *partialBuffer) add(p *backendv1.PartialContent) {
	size := len(p.GetText()) + len(p.GetThinking())
	if b.bytes+size > maxPartialBytes {
		return
	}
	if n := len(b.list); n > 0 && join(b.list[n-1], p) {
		b.bytes += size
		return
	}
	if len(b.list) == maxPartials {
		return
	}
	b.list = append(b.list, p)
	b.bytes += size
}

// take returns and removes everything.
func (b *partialBuffer) take() []*backendv1.PartialContent {
	list := b.list
	*b = partialBuffer{}
	return list
}

// join appends next to last when it is more of the same block.
func join(last, next *backendv1.PartialContent) bool {
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
