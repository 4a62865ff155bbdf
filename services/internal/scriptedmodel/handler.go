// Package scriptedmodel is a scripted model endpoint: a small server that
// plays written scenarios instead of thinking. It speaks the Messages API and those
// of other agents' models (Responses, Chat Completions), stands in for the
// real ones in tests and in the demo, and is reached the same way, by a base URL.
//
// A marker in the latest prompt chooses the scenario: [[demo]], or with an
// argument [[bash:echo hi]]. A prompt that begins with "continue" goes on with
// the scenario. Where a conversation stands is read from the request's own
// history, so conversations can be resumed and the endpoint restarted at will.
package scriptedmodel

import (
	"crypto/subtle"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxRequestBytes bounds a request; the CLI's carry about 130 KB and grow with
// the conversation.
const maxRequestBytes = 64 << 20

// Options of a Handler.
type Options struct {
	// Token is the bearer token that callers must show, until Rotate replaces it;
	// empty accepts any.
	Token string
	// Pace is the pause between the pieces of streamed text. Zero: none.
	Pace time.Duration
	// Scenarios are added to the built-in ones and replace those of the same name.
	Scenarios []Scenario
}

// Stats counts what a Handler was asked. It is a snapshot.
type Stats struct {
	// Messages counts the calls that a scenario answered, Auxiliary the agent's
	// side requests without tools, CountTokens the token counts.
	Messages, Auxiliary, CountTokens int
	// Unauthorized counts the calls with a wrong token or none.
	Unauthorized int
	// Invalid lists why requests were refused as malformed.
	Invalid []string
	// Tokens lists the different credentials seen, in order of appearance.
	Tokens []string
	// Models lists the different models asked for, in order of appearance.
	Models []string
	// Scenarios counts the answered calls by scenario.
	Scenarios map[string]int
}

// Handler is the endpoint. Create it with New.
type Handler struct {
	opts      Options
	scenarios map[string]Scenario
	mux       *http.ServeMux

	mu    sync.Mutex
	token string
	stats Stats
	// failures counts the errors already given, by conversation and turn.
	failures map[string]int
	signals  map[string]*signal
}

// signal is a named gate. arrived is closed when the first request waits at
// it, released when it is opened.
type signal struct {
	arrived, released         chan struct{}
	arrivedOnce, releasedOnce sync.Once
}

// New returns a Handler. Besides the Messages API it serves
// POST /scripted/release?signal=NAME, which does what Release does, for use
// from another process.
func New(opts Options) *Handler {
	h := &Handler{
		opts:      opts,
		scenarios: map[string]Scenario{},
		mux:       http.NewServeMux(),
		failures:  map[string]int{},
		signals:   map[string]*signal{},
	}
	h.token = opts.Token
	h.stats.Scenarios = map[string]int{}
	for _, s := range append(Builtin(), opts.Scenarios...) {
		h.scenarios[s.Name] = s
	}
	h.mux.HandleFunc("POST /v1/messages", h.serve(messages{}))
	h.mux.HandleFunc("POST /v1/responses", h.serve(responses{}))
	h.mux.HandleFunc("POST /v1/chat/completions", h.serve(chat{}))
	h.mux.HandleFunc("POST /v1/messages/count_tokens", h.serveCountTokens)
	h.mux.HandleFunc("POST /scripted/release", func(w http.ResponseWriter, r *http.Request) {
		h.Release(r.URL.Query().Get("signal"))
		w.WriteHeader(http.StatusNoContent)
	})
	// The CLI probes the address with HEAD / before the first call.
	h.mux.HandleFunc("HEAD /", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	h.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		messages{}.fail(w, &Error{Status: http.StatusNotFound, Type: "not_found_error", Message: r.Method + " " + r.URL.Path})
	})
	return h
}

// ServeHTTP serves the model APIs.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

// Rotate replaces the token that callers must show.
func (h *Handler) Rotate(token string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.token = token
}

// Release opens the gate of that name for all turns that wait for it, now or later.
func (h *Handler) Release(name string) {
	s := h.signal(name)
	s.releasedOnce.Do(func() { close(s.released) })
}

// Arrived is closed once a request waits at the gate of that name.
func (h *Handler) Arrived(name string) <-chan struct{} { return h.signal(name).arrived }

// Stats returns the counts so far.
func (h *Handler) Stats() Stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.stats
	s.Invalid = append([]string(nil), s.Invalid...)
	s.Tokens = append([]string(nil), s.Tokens...)
	s.Models = append([]string(nil), s.Models...)
	s.Scenarios = make(map[string]int, len(h.stats.Scenarios))
	for name, n := range h.stats.Scenarios {
		s.Scenarios[name] = n
	}
	return s
}

func (h *Handler) signal(name string) *signal {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, ok := h.signals[name]
	if !ok {
		s = &signal{arrived: make(chan struct{}), released: make(chan struct{})}
		h.signals[name] = s
	}
	return s
}

func (h *Handler) count(change func(*Stats)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(&h.stats)
}

// authorize checks the credential and remembers it.
func (h *Handler) authorize(p protocol, w http.ResponseWriter, r *http.Request) bool {
	token, isBearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !isBearer {
		token = r.Header.Get("X-Api-Key")
	}
	h.mu.Lock()
	want := h.token
	h.mu.Unlock()
	ok := want == "" || subtle.ConstantTimeCompare([]byte(token), []byte(want)) == 1
	h.count(func(s *Stats) {
		if !ok {
			s.Unauthorized++
		}
		if !slices.Contains(s.Tokens, token) {
			s.Tokens = append(s.Tokens, token)
		}
	})
	if !ok {
		p.fail(w, &Error{Status: http.StatusUnauthorized, Type: "authentication_error", Message: "invalid bearer token"})
	}
	return ok
}

// protocol is a model API: how requests and answers are written in it. Requests are
// read as those of the Messages API, which has all that the others have.
type protocol interface {
	// read reads a request.
	read(r *http.Request, body []byte) (*messagesRequest, error)
	// answer sends a turn.
	answer(h *Handler, w http.ResponseWriter, r *http.Request, req *messagesRequest, c *conversation, t Turn)
	// fail sends an error.
	fail(w http.ResponseWriter, e *Error)
}

func (h *Handler) readRequest(p protocol, w http.ResponseWriter, r *http.Request) (*messagesRequest, bool) {
	if !h.authorize(p, w, r) {
		return nil, false
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequestBytes))
	if err != nil {
		return nil, false // The client went away or sent too much; nobody reads an answer.
	}
	req, err := p.read(r, body)
	if err == nil {
		err = req.validate()
	}
	if err != nil {
		h.count(func(s *Stats) { s.Invalid = append(s.Invalid, err.Error()) })
		p.fail(w, &Error{Status: http.StatusBadRequest, Type: "invalid_request_error", Message: err.Error()})
		return nil, false
	}
	h.count(func(s *Stats) {
		if !slices.Contains(s.Models, req.Model) {
			s.Models = append(s.Models, req.Model)
		}
	})
	return req, true
}

func (h *Handler) serveCountTokens(w http.ResponseWriter, r *http.Request) {
	if _, ok := h.readRequest(messages{}, w, r); !ok {
		return
	}
	h.count(func(s *Stats) { s.CountTokens++ })
	writeJSON(w, http.StatusOK, map[string]any{"input_tokens": DefaultUsage.InputTokens})
}

// serve answers a request with the next turn of its scenario.
func (h *Handler) serve(p protocol) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		req, ok := h.readRequest(p, w, r)
		if !ok {
			return
		}
		c := readConversation(req, h.whole)
		if len(req.Tools) == 0 {
			// A side request of the agent: a title, a quota check.
			h.count(func(s *Stats) { s.Auxiliary++ })
			p.answer(h, w, r, req, &c, turn(text(`{"title": "Scripted run"}`)))
			return
		}
		t := h.turn(&c)
		h.count(func(s *Stats) { s.Messages++; s.Scenarios[c.scenario]++ })
		if t.Error != nil && h.fails(&c, "error", t.Error.Times) {
			p.fail(w, t.Error)
			return
		}
		if t.Hang {
			<-r.Context().Done()
			return
		}
		if t.Wait != "" && !h.wait(r, c.expand(t.Wait)) {
			return
		}
		p.answer(h, w, r, req, &c, t)
	}
}

// turn returns what the scenario says next.
func (h *Handler) turn(c *conversation) Turn {
	s, ok := h.scenarios[c.scenario]
	if !ok {
		c.scenario = DefaultScenario
		s = h.scenarios[DefaultScenario]
	}
	if c.step >= len(s.Turns) {
		return turn(text("That is all there is in this scenario."))
	}
	return s.Turns[c.step]
}

// whole says whether an answer is all of the turn where the conversation is.
func (h *Handler) whole(c *conversation, said content) bool {
	turns := h.scenarios[c.scenario].Turns
	if c.step >= len(turns) {
		return true
	}
	calls, length := false, 0
	for _, b := range turns[c.step].Blocks {
		calls = calls || b.Tool != nil
		length += len(c.expand(b.Text))
	}
	return (!calls || said.callsTool()) && len(said.text()) >= length
}

// fails says whether this call of the turn fails, of which the first ones do;
// 0 means all.
func (h *Handler) fails(c *conversation, how string, times int) bool {
	if times == 0 {
		return true
	}
	key := fmt.Sprintf("%s/%s/%s/%d", how, c.session, c.scenario, c.turns)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failures[key]++
	return h.failures[key] <= times
}

// wait blocks until the gate opens; false when the client left first.
func (h *Handler) wait(r *http.Request, name string) bool {
	s := h.signal(name)
	s.arrivedOnce.Do(func() { close(s.arrived) })
	select {
	case <-s.released:
		return true
	case <-r.Context().Done():
		return false
	}
}
