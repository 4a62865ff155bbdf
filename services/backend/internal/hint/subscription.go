package hint

import (
	"math"
	"sync"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

const (
	// Bounds of what a subscription collects before it is taken. Beyond the first,
	// its owner is told that it missed something; beyond the others, events are
	// read from the database, and text being written is lost, as it may be.
	maxSessions = 1000
	maxEvents   = 1024
	maxPartials = 512
	// UnknownSeq is the LastSeq of a session that may have any new events.
	UnknownSeq = math.MaxInt64
)

// Topic is what a subscription is about.
type Topic struct{ kind, id string }

// Queue is about runs that may be claimed.
func Queue() Topic { return Topic{kind: lineQueue} }

// Commands is about the commands of a worker.
func Commands(worker string) Topic { return Topic{lineWorker, worker} }

// Session is about the events of a session, and texts being written in it.
func Session(id string) Topic { return Topic{lineSession, id} }

// Sessions is about the entries in the list of a user's sessions.
func Sessions(userID string) Topic { return Topic{lineListed, UserKey(userID)} }

// News is what a subscription was told since it was taken last; the fields that
// its topic is about.
type News struct {
	// LastSeq is the number of the session's last event; UnknownSeq when hints
	// were lost.
	LastSeq int64
	// Events are some of those up to LastSeq, in no order when transactions ended
	// at once.
	Events []*backendv1.SessionEvent
	// Partials are texts being written.
	Partials []*backendv1.PartialContent
	// Deleted says that the session was deleted.
	Deleted bool
	// Sessions are those whose entry changed.
	Sessions map[string]struct{}
	// Missed says that hints were lost: any entry may have changed.
	Missed bool
}

// Subscription collects what is told about a topic.
type Subscription struct {
	subscribers *subscribers
	topic       Topic
	ready       chan struct{}

	mu   sync.Mutex
	news News
}

// Ready receives when there is something to take.
func (s *Subscription) Ready() <-chan struct{} { return s.ready }

// Take returns what was told since the last call.
func (s *Subscription) Take() News {
	s.mu.Lock()
	defer s.mu.Unlock()
	news := s.news
	s.news = News{}
	return news
}

// Close ends the subscription.
func (s *Subscription) Close() { s.subscribers.remove(s) }

func (s *Subscription) tell(note func(*News)) {
	s.mu.Lock()
	note(&s.news)
	s.mu.Unlock()
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// subscribers are this backend's subscriptions.
type subscribers struct {
	mu      sync.Mutex
	byTopic map[Topic]map[*Subscription]struct{}
}

func (s *subscribers) add(t Topic) *Subscription {
	sub := &Subscription{subscribers: s, topic: t, ready: make(chan struct{}, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byTopic == nil {
		s.byTopic = make(map[Topic]map[*Subscription]struct{})
	}
	if s.byTopic[t] == nil {
		s.byTopic[t] = make(map[*Subscription]struct{})
	}
	s.byTopic[t][sub] = struct{}{}
	return sub
}

func (s *subscribers) remove(sub *Subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byTopic[sub.topic], sub)
	if len(s.byTopic[sub.topic]) == 0 {
		delete(s.byTopic, sub.topic)
	}
}

// deliver tells everyone what a set has on their topic.
func (s *subscribers) deliver(set Set) {
	s.mu.Lock()
	defer s.mu.Unlock()
	tell := func(t Topic, note func(*News)) {
		for sub := range s.byTopic[t] {
			sub.tell(note)
		}
	}
	if set.Queue {
		tell(Queue(), func(*News) {})
	}
	for worker := range set.Workers {
		tell(Commands(worker), func(*News) {})
	}
	for id, seq := range set.Sessions {
		tell(Session(id), func(n *News) {
			n.LastSeq = max(n.LastSeq, seq)
			if len(n.Events) < maxEvents {
				n.Events = append(n.Events, set.Events[id]...)
			}
		})
	}
	for id, partials := range set.Partials {
		tell(Session(id), func(n *News) {
			if len(n.Partials) < maxPartials {
				n.Partials = append(n.Partials, partials...)
			}
		})
	}
	for id := range set.Deleted {
		tell(Session(id), func(n *News) { n.Deleted = true })
	}
	for id, key := range set.Listed {
		tell(Topic{lineListed, key}, func(n *News) { n.list(id) })
	}
	if set.All {
		for t := range s.byTopic {
			tell(t, func(n *News) { n.LastSeq, n.Missed = UnknownSeq, true })
		}
	}
}

func (n *News) list(sessionID string) {
	if len(n.Sessions) >= maxSessions {
		n.Missed = true
		return
	}
	if n.Sessions == nil {
		n.Sessions = make(map[string]struct{})
	}
	n.Sessions[sessionID] = struct{}{}
}
