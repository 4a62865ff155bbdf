package schema

import (
	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/types/known/durationpb"
)

// rules are the field's protovalidate rules; nil when it has none.
func (s *Setting) rules() *validate.FieldRules {
	rules, err := protovalidate.ResolveFieldRules(s.field)
	if err != nil {
		// The field does not come from a descriptor set of its own: its rules are
		// compiled in, and always readable.
		return nil
	}
	return rules
}

// TextRules are the rules of a text, or of each text of a list; nil when there
// are none.
func (s *Setting) TextRules() *validate.StringRules {
	if s.Kind == List {
		return s.rules().GetRepeated().GetItems().GetString()
	}
	return s.rules().GetString()
}

// ListRules are the rules of a list as a whole; nil when there are none.
func (s *Setting) ListRules() *validate.RepeatedRules { return s.rules().GetRepeated() }

// Choices are the only words allowed; nil when there is no such rule.
func (s *Setting) Choices() []string { return s.rules().GetString().GetIn() }

// Range is the limits of a number.
type Range struct {
	// Min and Max are in environment notation; nil when there is no such limit.
	Min, Max *float64
	// MinExclusive and MaxExclusive tell that the limit itself is not allowed.
	MinExclusive, MaxExclusive bool
}

// Range returns the limits of an integer, number, size or duration.
func (s *Setting) Range() Range {
	rules := s.rules()
	switch {
	case rules.GetInt32() != nil:
		return rangeOf(rules.GetInt32(), func(n int32) float64 { return float64(n) / s.scale() })
	case rules.GetInt64() != nil:
		return rangeOf(rules.GetInt64(), func(n int64) float64 { return float64(n) / s.scale() })
	case rules.GetDouble() != nil:
		return rangeOf(rules.GetDouble(), func(f float64) float64 { return f })
	case rules.GetDuration() != nil:
		return rangeOf(rules.GetDuration(), func(d *durationpb.Duration) float64 {
			return float64(d.AsDuration()) / float64(durationUnit(s.GetUnit()))
		})
	default:
		return Range{}
	}
}

// scale is what one in environment notation is in the field.
func (s *Setting) scale() float64 { return float64(max(1, sizeUnit(s.GetUnit()))) }

// limits are what the rules of all numbers have in common.
type limits[T any] interface {
	HasGte() bool
	GetGte() T
	HasGt() bool
	GetGt() T
	HasLte() bool
	GetLte() T
	HasLt() bool
	GetLt() T
}

func rangeOf[T any](rules limits[T], number func(T) float64) Range {
	var r Range
	bound := func(value T) *float64 {
		n := number(value)
		return &n
	}
	if rules.HasGte() {
		r.Min = bound(rules.GetGte())
	}
	if rules.HasGt() {
		r.Min, r.MinExclusive = bound(rules.GetGt()), true
	}
	if rules.HasLte() {
		r.Max = bound(rules.GetLte())
	}
	if rules.HasLt() {
		r.Max, r.MaxExclusive = bound(rules.GetLt()), true
	}
	return r
}
