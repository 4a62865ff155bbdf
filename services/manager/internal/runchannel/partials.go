package runchannel

import (
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/partial"
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
	size := partial.Size(p)
	if b.bytes+size > maxPartialBytes {
		return
	}
	if n := len(b.list); n > 0 && partial.Join(b.list[n-1], p) {
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
