package schema

import (
	"strconv"
	"strings"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
)

// Unit is the unit in words, empty when there is none.
func (l Language) Unit(s *Setting) string {
	if s.GetUnit() == configv1.Unit_UNIT_UNSPECIFIED {
		return ""
	}
	return l.Say(strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(s.GetUnit().String(), "UNIT_")), "_", " "))
}

// Constraint returns a setting's rules in words, in environment notation;
// empty when it has none.
func (l Language) Constraint(s *Setting) string {
	words := l.valueWords(s)
	switch s.Kind {
	case List:
		for i := range words {
			words[i] = l.Say("each %s", words[i])
		}
		words = append(l.listWords(s.ListRules()), words...)
	case Integer, Size, Number, Duration:
		words = l.rangeWords(s.Range())
	default:
	}
	for _, rule := range s.rules().GetCel() {
		words = append(words, l.Say(rule.GetMessage()))
	}
	return strings.Join(words, l.Say(", "))
}

// valueWords are about a text, or each text of a list.
func (l Language) valueWords(s *Setting) []string {
	var words []string
	if f, ok := formats[s.GetFormat()]; ok {
		words = append(words, l.Say(f.expected))
	}
	return append(words, l.textWords(s.TextRules())...)
}

func (l Language) rangeWords(r Range) []string {
	var words []string
	switch {
	case r.Min == nil:
	case r.MinExclusive:
		words = append(words, l.Say("more than %s", formatFloat(*r.Min)))
	case r.Max != nil && !r.MaxExclusive:
		return []string{l.Say("from %s to %s", formatFloat(*r.Min), formatFloat(*r.Max))}
	default:
		words = append(words, l.Say("at least %s", formatFloat(*r.Min)))
	}
	switch {
	case r.Max == nil:
	case r.MaxExclusive:
		words = append(words, l.Say("less than %s", formatFloat(*r.Max)))
	default:
		words = append(words, l.Say("at most %s", formatFloat(*r.Max)))
	}
	return words
}

func (l Language) listWords(r *validate.RepeatedRules) []string {
	var words []string
	switch n := r.GetMinItems(); {
	case n == 1:
		words = append(words, l.Say("not empty"))
	case n > 1:
		words = append(words, l.Say("at least %d values", n))
	}
	if n := r.GetMaxItems(); n > 0 {
		words = append(words, l.Say("at most %d values", n))
	}
	return words
}

func (l Language) textWords(r *validate.StringRules) []string {
	var words []string
	if choices := r.GetIn(); len(choices) > 0 {
		quoted := make([]string, len(choices))
		for i, word := range choices {
			quoted[i] = strconv.Quote(word)
		}
		words = append(words, l.Say("one of %s", l.List(quoted)))
	}
	lo, hi := r.GetMinLen(), r.GetMaxLen()
	switch {
	case lo > 1 && hi > 0:
		words = append(words, l.Say("%d to %d characters", lo, hi))
	case hi > 0:
		words = append(words, l.Say("at most %d characters", hi))
	case lo > 1:
		words = append(words, l.Say("at least %d characters", lo))
	default:
		// One character at least is no news: an empty value counts as none.
	}
	if r.GetIp() {
		words = append(words, l.Say("an IP address"))
	}
	if r.GetHostname() {
		words = append(words, l.Say("a host name"))
	}
	if r.GetPattern() != "" {
		words = append(words, l.Say("matching %s", r.GetPattern()))
	}
	return words
}

// Expected says what a value has to be, its type included.
func (l Language) Expected(s *Setting) string {
	what := ""
	switch s.Kind {
	case Bool:
		return l.Say("true or false")
	case Integer:
		what = l.Say("a whole number")
	case Number:
		what = l.Say("a number")
	case Size:
		what = l.Say("a whole number of %s", l.Unit(s))
	case Duration:
		what = l.Say("a number of %s", l.Unit(s))
	case List:
		what = l.Say("values separated by commas")
	default:
	}
	rules := l.Constraint(s)
	switch {
	case what == "" && rules == "":
		return l.Say("a value")
	case what == "":
		return rules
	case rules == "":
		return what
	default:
		return what + l.Say(", ") + rules
	}
}

// Summary is the first sentence of the description, without its full stop.
func (l Language) Summary(s *Setting) string {
	description := l.Description(s)
	for _, end := range []string{". ", "。"} {
		description, _, _ = strings.Cut(description, end)
	}
	return strings.TrimSuffix(description, ".")
}

// UnitName is the unit in English, empty when there is none.
func (s *Setting) UnitName() string { return English.Unit(s) }

// Constraint returns the setting's rules in English, see Language.Constraint.
func (s *Setting) Constraint() string { return English.Constraint(s) }

// Expected says in English what a value has to be, its type included.
func (s *Setting) Expected() string { return English.Expected(s) }

// Summary is the first sentence of the description, to go into a message.
func (s *Setting) Summary() string { return English.Summary(s) }

// SectionTitle is the English heading of the group the setting belongs to; empty
// when the group has none.
func (s *Setting) SectionTitle() string {
	title, _ := English.Section(s.Group)
	return title
}
