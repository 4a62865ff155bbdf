package config

import (
	"slices"

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
			value := ""
			if len(r.layers) > 0 {
				value = r.Spelling(r.Text(inForce.msg.ProtoReflect()))
			}
			out = append(out, Shared{r.GetEnv(), r.GetAgreement(), false, NewSecret(value)})
		}
	}
	return out
}
