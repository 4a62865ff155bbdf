package config

import (
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	// missedInterval is how often a secret that is refused makes the service look
	// at the files.
	missedInterval = time.Second
	// maxRetired bounds how many replaced secrets are remembered for logs.
	maxRetired = 64
)

// OnChange has f called after each reload that changed a live setting, with the
// settings in force. It must return soon and not call Refresh.
func (l *Loaded[T]) OnChange(f func(T)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listeners = append(l.listeners, f)
}

// Refresh looks at the files and reloads them when they have changed. It is
// cheap when they have not.
func (l *Loaded[T]) Refresh() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refresh()
}

// refreshMissed is Refresh for a secret that does not fit: the caller may have
// noticed a rotation sooner. Anyone who comes while another one looks waits for it.
func (l *Loaded[T]) refreshMissed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); l.missed.IsZero() || now.Sub(l.missed) >= missedInterval {
		l.missed = now
		l.refresh()
	}
}

func (l *Loaded[T]) refresh() {
	if !l.stamps.changed() {
		return
	}
	fresh, _ := l.Msg.ProtoReflect().New().Interface().(T) // of the same type
	next := read(fresh, l.service, l.sources())
	l.stamps = next.stamps
	old := l.state.Load()
	inForce := l.merge(old.inForce, next)
	if problems := inForce.problems.List; len(problems) > 0 {
		l.refuse(old, problems)
		return
	}
	l.accept(old, next, inForce)
}

// merge gives what would be in force: the live settings of next, the others as
// at the start. It has the problems of both. Live parts of one thing stay as they
// are when another part of it has to wait: new keys do not fit the old endpoint.
func (l *Loaded[T]) merge(old, next *reading[T]) *reading[T] {
	m := &reading[T]{
		msg:      proto.CloneOf(l.Msg),
		findings: slices.Clone(next.findings[:next.ofSources]),
		problems: &Problems{Service: l.service, List: next.problems.List},
		broken:   next.broken,
	}
	waiting := l.waiting(next)
	for i, s := range l.start.settings {
		if s.GetLive() {
			from := next
			if s.GetTogether() != "" && waiting[s.GetTogether()] {
				from = old
			}
			s = from.settings[i]
			s.Copy(m.msg.ProtoReflect(), from.msg.ProtoReflect())
		}
		m.settings = append(m.settings, s)
	}
	if len(next.problems.List) == 0 {
		// A service that production rules apply to keeps them until it is restarted.
		m.check()
		m.sortProblems()
	}
	return m
}

// waiting has the things of which a part that is not live has changed since the
// start.
func (l *Loaded[T]) waiting(next *reading[T]) map[string]bool {
	out := map[string]bool{}
	for i, s := range l.start.settings {
		if !s.GetLive() && differ(s, l.Msg, next.settings[i], next.msg) {
			out[s.GetTogether()] = true
		}
	}
	return out
}

// refuse leaves everything as it is and says why.
func (l *Loaded[T]) refuse(old *state[T], problems []Problem) {
	if slices.Equal(old.refused, problems) {
		return
	}
	st := *old
	st.refused = problems
	l.state.Store(&st)
	said := make([]string, len(problems))
	for i, p := range problems {
		said[i] = p.String()
	}
	l.logger.Load().Warn("the changed configuration is refused, and the one before stays in force", "problems", said)
}

// accept puts the live settings of next in force.
func (l *Loaded[T]) accept(old *state[T], next, inForce *reading[T]) {
	st := &state[T]{inForce: inForce, seen: next, retired: old.retired, pending: map[string]bool{}}
	var changed, pending []string
	for i, s := range inForce.settings {
		if differ(s, inForce.msg, next.settings[i], next.msg) {
			st.pending[s.GetEnv()] = true
			pending = append(pending, s.GetEnv())
		}
		if !s.GetLive() {
			continue
		}
		before := old.inForce.settings[i]
		if differ(before, old.inForce.msg, s, inForce.msg) {
			changed = append(changed, s.GetEnv())
			for _, text := range before.secretTexts() {
				st.retired = append(slices.Clone(st.retired), NewSecret(text))
			}
		}
		if s.IsSecret() && s != before {
			s.secret = rotated(before.secret, s.secret, inForce.duration(s.GetGraceEnv()))
		}
	}
	st.retired = st.retired[max(0, len(st.retired)-maxRetired):]
	l.state.Store(st)
	if len(changed) > 0 {
		for _, f := range l.listeners {
			f(inForce.msg)
		}
	}
	// By the level that is in force now.
	if len(changed) > 0 || !maps.Equal(st.pending, old.pending) || old.refused != nil {
		l.logger.Load().Info("configuration reloaded", "changed", changed, FindingRestartPending, pending)
	}
}

// differ tells whether a setting has two values.
func differ(a *resolved, inA proto.Message, b *resolved, inB proto.Message) bool {
	if a.IsSecret() {
		return a.secret.Reveal() != b.secret.Reveal()
	}
	return !a.Value(inA.ProtoReflect()).Equal(b.Value(inB.ProtoReflect()))
}

// duration is the value of a setting that is one; 0 when env names none.
func (r *reading[T]) duration(env string) time.Duration {
	for _, s := range r.settings {
		if env == "" || s.GetEnv() != env {
			continue
		}
		if d, ok := s.Value(r.msg.ProtoReflect()).Message().Interface().(*durationpb.Duration); ok {
			return d.AsDuration()
		}
	}
	return 0
}
