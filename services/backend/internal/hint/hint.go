// Package hint tells every backend what may have changed. A transaction's hints
// are published on the Bus after its commit; a Subscription collects those of one
// Topic. The truth is in the tables: a hint may be lost, and everyone who waits
// for one also looks now and then without.
package hint

import (
	"hash/fnv"
	"strconv"
	"sync"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

// Set is what changed. The zero Set says nothing.
type Set struct {
	// Sessions have new events, up to the given number.
	Sessions map[string]int64
	// Listed are sessions whose entry in lists changed, with their user's key.
	Listed map[string]string
	// Queue is set when a run may be claimed that could not be before.
	Queue bool
	// Deleted sessions take no watchers any more.
	Deleted map[string]struct{}
	// Workers have new commands.
	Workers map[string]struct{}
	// All says that hints were lost: anything may have changed.
	All bool

	// Events are those that Sessions speaks of, by session, in order: watchers at
	// this backend need not read them. Other backends are not sent them.
	Events map[string][]*backendv1.SessionEvent
	// Partials are texts being written, by session. They are stored nowhere.
	Partials map[string][]*backendv1.PartialContent
}

// Session notes that a session has events up to seq.
func (s *Set) Session(id string, seq int64) {
	if s.Sessions == nil {
		s.Sessions = make(map[string]int64)
	}
	s.Sessions[id] = max(seq, s.Sessions[id])
}

// Event notes that a session has a new event, its last one.
func (s *Set) Event(sessionID string, e *backendv1.SessionEvent) {
	if s.Events == nil {
		s.Events = make(map[string][]*backendv1.SessionEvent)
	}
	s.Events[sessionID] = append(s.Events[sessionID], e)
	s.Session(sessionID, e.GetSeq())
}

// List notes that the session's entry in its user's list changed.
func (s *Set) List(sessionID, userID string) {
	s.list(sessionID, UserKey(userID))
}

func (s *Set) list(sessionID, key string) {
	if s.Listed == nil {
		s.Listed = make(map[string]string)
	}
	s.Listed[sessionID] = key
}

// Delete notes that a session was deleted.
func (s *Set) Delete(id string) {
	if s.Deleted == nil {
		s.Deleted = make(map[string]struct{})
	}
	s.Deleted[id] = struct{}{}
}

// Worker notes that a worker has a new command.
func (s *Set) Worker(id string) {
	if s.Workers == nil {
		s.Workers = make(map[string]struct{})
	}
	s.Workers[id] = struct{}{}
}

// Merge adds what other holds and is sent to other backends: neither events nor
// text being written.
func (s *Set) Merge(other Set) {
	for id, seq := range other.Sessions {
		s.Session(id, seq)
	}
	for id, key := range other.Listed {
		s.list(id, key)
	}
	for id := range other.Deleted {
		s.Delete(id)
	}
	for id := range other.Workers {
		s.Worker(id)
	}
	s.Queue = s.Queue || other.Queue
	s.All = s.All || other.All
}

// Empty says whether there is nothing in it.
func (s *Set) Empty() bool {
	return len(s.Sessions) == 0 && len(s.Listed) == 0 && len(s.Deleted) == 0 && len(s.Workers) == 0 && len(s.Partials) == 0 && !s.Queue && !s.All
}

// UserKey stands for a user in hints. Two users may share one; then each is
// woken by the other's changes, and finds nothing.
func UserKey(userID string) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(userID)) // never fails
	return strconv.FormatUint(h.Sum64(), 36)
}

// Signal wakes everyone who waits, any number of times.
type Signal struct {
	mu sync.Mutex
	ch chan struct{}
}

// C returns a channel that is closed at the next Notify. Take it before looking
// at the state it is about, so that no change falls in between.
func (s *Signal) C() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

// Notify wakes everyone.
func (s *Signal) Notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}
