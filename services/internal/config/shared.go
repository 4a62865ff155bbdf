package config

import (
	"net/url"
	"slices"
	"strings"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
)

// Shared is a setting whose value can be compared with that of another service.
type Shared struct {
	Env string
	// Agreement is unspecified for a setting on which services need not agree.
	Agreement configv1.Agreement
	// IsSecret tells that the value is secret.
	IsSecret bool
	// Value is the value in force, in the one spelling that equal values have;
	// unset when there is none.
	Value Secret
}

// Shared returns the settings on which services have to agree, in the order of
// the schema.
func (l *Loaded[T]) Shared() []Shared {
	return slices.DeleteFunc(l.Comparable(), func(s Shared) bool { return s.Agreement == configv1.Agreement_AGREEMENT_UNSPECIFIED })
}

// Comparable returns the settings of Shared and all secrets, likewise. It is for
// comparing a service with a replica of itself, or with what it is to become.
func (l *Loaded[T]) Comparable() []Shared {
	var out []Shared
	inForce := l.state.Load().inForce
	for _, r := range inForce.settings {
		switch {
		case r.IsSecret():
			out = append(out, Shared{r.GetEnv(), r.GetAgreement(), true, r.secret})
		case r.GetAgreement() != configv1.Agreement_AGREEMENT_UNSPECIFIED:
			out = append(out, Shared{r.GetEnv(), r.GetAgreement(), false, NewSecret(inForce.spelling(r))})
		}
	}
	return out
}

// spelling is the value of a setting that is not secret, see Shared.
func (r *reading[T]) spelling(s *resolved) string {
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
