package config

import (
	"net/url"
	"strings"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
)

// Shared is a setting whose value can be compared with that of another service.
type Shared struct {
	Env string
	// Agreement is unspecified for a setting on which services need not agree.
	Agreement configv1.Agreement
	// Secret tells that the value is secret.
	Secret bool
	// value is a closure for the reason that Secret has one.
	value func() string
}

// NewShared returns a setting whose value in force is what the function gives.
func NewShared(env string, agreement configv1.Agreement, secret bool, value func() string) Shared {
	return Shared{Env: env, Agreement: agreement, Secret: secret, value: value}
}

// Value is the value in force, in the one spelling that equal values have;
// empty when there is none. It may be secret.
func (s Shared) Value() string { return s.value() }

// Shared returns the settings on which services have to agree, in the order of
// the schema.
func (l *Loaded[T]) Shared() []Shared {
	return l.comparable(func(r *resolved) bool { return r.GetAgreement() != configv1.Agreement_AGREEMENT_UNSPECIFIED })
}

// Comparable returns the settings of Shared and all secrets, likewise. It is for
// comparing a service with a replica of itself, or with what it is to become.
func (l *Loaded[T]) Comparable() []Shared {
	return l.comparable(func(r *resolved) bool {
		return r.GetAgreement() != configv1.Agreement_AGREEMENT_UNSPECIFIED || r.IsSecret()
	})
}

func (l *Loaded[T]) comparable(match func(*resolved) bool) []Shared {
	var out []Shared
	for i, r := range l.start.settings {
		if !match(r) {
			continue
		}
		value := func() string { return l.state.Load().inForce.spelling(i) }
		if r.IsSecret() {
			value = l.Secret(r.GetEnv()).Reveal
		}
		out = append(out, NewShared(r.GetEnv(), r.GetAgreement(), r.IsSecret(), value))
	}
	return out
}

// spelling is the value of a setting that is not secret, see Shared.Value.
func (r *reading[T]) spelling(i int) string {
	s := r.settings[i]
	if len(s.layers) == 0 {
		return ""
	}
	text := s.Text(r.msg.ProtoReflect())
	if s.GetFormat() == configv1.Format_FORMAT_HTTP_URL {
		return canonicalURL(text)
	}
	return text
}

// canonicalURL spells alike what leads to the same place: the case of the host,
// the port that the scheme has anyway and a slash at the end do not matter.
func canonicalURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return text
	}
	u.Host = strings.ToLower(u.Host)
	switch u.Scheme {
	case "http":
		u.Host = strings.TrimSuffix(u.Host, ":80")
	case "https":
		u.Host = strings.TrimSuffix(u.Host, ":443")
	}
	u.Path = strings.TrimRight(u.Path, "/")
	return u.String()
}
