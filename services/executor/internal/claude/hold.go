package claude

import (
	"sync"
	"sync/atomic"
)

// holder stops the CLI, with all that it started, for a while.
type holder struct {
	held atomic.Bool
	// released hears of each release, so that the silence before is nobody's.
	released chan struct{}

	mu      sync.Mutex
	process *process
	stopped []int
}

// Hold stops the agent where it is: neither the CLI nor a command of its does
// anything until Release. It may be called before, during and after Run.
func (a *Agent) Hold() {
	h := &a.hold
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held.Store(true)
	h.stop()
}

// Release lets the agent go on. The time it was held does not count as
// silence.
func (a *Agent) Release() {
	h := &a.hold
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held.Store(false)
	continueAll(h.stopped)
	h.stopped = nil
	select {
	case h.released <- struct{}{}:
	default: // The one before is not read yet.
	}
}

// started takes in the process that may have to be held from its start.
func (h *holder) started(p *process) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.process = p
	if h.held.Load() {
		h.stop()
	}
}

func (h *holder) stop() {
	if h.process == nil {
		return
	}
	select {
	case <-h.process.exited:
	default:
		h.stopped = append(h.stopped, stopAll(h.process.pid)...)
	}
}
