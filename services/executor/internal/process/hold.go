package process

import (
	"sync"
	"sync/atomic"
)

// Holder stops an agent, with all that it started, for a while. Create it with
// NewHolder.
type Holder struct {
	held     atomic.Bool
	released chan struct{}

	mu      sync.Mutex
	process *Process
	stopped []int
}

// NewHolder returns a holder that holds nothing.
func NewHolder() *Holder { return &Holder{released: make(chan struct{}, 1)} }

// Hold stops the agent where it is: neither its program nor a command of its does
// anything until Release. It may be called before the program starts.
func (h *Holder) Hold() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held.Store(true)
	h.stop()
}

// Release lets the agent go on.
func (h *Holder) Release() {
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

// Held says whether the agent is held.
func (h *Holder) Held() bool { return h.held.Load() }

// Released hears of each release, so that the silence before is nobody's.
func (h *Holder) Released() <-chan struct{} { return h.released }

// Started takes in the process that may have to be held from its start.
func (h *Holder) Started(p *Process) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.process = p
	if h.held.Load() {
		h.stop()
	}
}

func (h *Holder) stop() {
	if h.process == nil {
		return
	}
	select {
	case <-h.process.Exited:
	default:
		h.stopped = append(h.stopped, stopAll(h.process.PID)...)
	}
}
