package config

import (
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/poco-ai/poco/services/internal/redact"
)

// Loaded is a configuration in use. Secrets are only in Secret.
//
// Settings that the schema calls live follow their files: .env, and those that
// _FILE variables name. Watch notices changes by itself, Refresh looks at once.
// A reload is all or nothing, by the rules of a start.
type Loaded[T proto.Message] struct {
	// Msg holds every value that is not a secret, as it was at the start. Do not
	// change it.
	Msg T

	service string
	// sources is a closure, so that printing a Loaded prints no secret.
	sources func() Sources
	start   *reading[T]
	state   atomic.Pointer[state[T]]
	logger  atomic.Pointer[slog.Logger]

	// mu is held by who reloads. It guards what follows.
	mu        sync.Mutex
	stamps    stamps
	listeners []func(T)
	// missed is when a refused secret last made it look at the files.
	missed time.Time
}

// state is what is in force and what is known of the sources.
type state[T proto.Message] struct {
	// inForce has the live settings as the sources last gave them, and all others
	// as at the start.
	inForce *reading[T]
	// seen is what the sources last said that was not refused.
	seen *reading[T]
	// retired are secrets that were in force before.
	retired []Secret
	// pending are settings that wait for a restart.
	pending map[string]bool
	// refused says why the sources as they are now are not followed; nil when
	// they are.
	refused []Problem
}

func newLoaded[T proto.Message](r *reading[T], service string, src Sources) *Loaded[T] {
	l := &Loaded[T]{Msg: r.msg, service: service, sources: func() Sources { return src }, start: r, stamps: r.stamps}
	l.logger.Store(slog.New(slog.DiscardHandler))
	l.state.Store(&state[T]{inForce: r, seen: r})
	return l
}

// Service is the service's name.
func (l *Loaded[T]) Service() string { return l.service }

// Current returns the settings in force: Msg, with the live ones as they are
// now. Do not change it.
func (l *Loaded[T]) Current() T { return l.state.Load().inForce.msg }

// Secret returns the secret of a variable, unset when there is none, and panics
// when the schema declares no such secret. A live one follows its rotation.
func (l *Loaded[T]) Secret(env string) Secret {
	for i, s := range l.start.settings {
		switch {
		case s.GetEnv() != env || !s.IsSecret():
		case s.GetLive():
			return Secret{look: func() *values { return l.state.Load().inForce.settings[i].secret.values() }, refresh: l.refreshMissed}
		default:
			return s.secret
		}
	}
	panic("config: " + l.service + " has no secret " + env)
}

// SecretValues are all texts that nobody must see, for removing them from logs:
// secrets in force and those they replaced, and the passwords inside URLs, raw
// and decoded.
func (l *Loaded[T]) SecretValues() []string {
	st := l.state.Load()
	var out []string
	for _, s := range st.inForce.settings {
		out = append(out, s.secretTexts()...)
	}
	for _, s := range st.retired {
		out = append(out, s.Reveal())
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// secretTexts are the texts of a setting that must not be seen.
func (r *resolved) secretTexts() []string {
	switch {
	case !r.secret.IsSet():
		return nil
	case r.GetSecretUrl():
		return redact.Passwords(r.secret.Reveal())
	default:
		return []string{r.secret.Reveal()}
	}
}
