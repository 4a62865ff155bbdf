package schema

import (
	"fmt"
	"strconv"
	"strings"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
)

// Constraint returns a setting's rules in words, in environment notation;
// empty when it has none.
func (s *Setting) Constraint() string {
	rules := s.rules()
	var words []string
	if f, ok := formats[s.GetFormat()]; ok && !s.IsSecret() {
		words = append(words, f.expected)
		if s.Kind == List {
			words[0] = "each " + words[0]
		}
	}
	switch s.Kind {
	case String:
		words = append(words, stringWords(s.TextRules())...)
	case List:
		if n := rules.GetRepeated().GetMinItems(); n > 0 {
			words = append(words, fmt.Sprintf("at least %s", count(n, "value")))
		}
		if n := rules.GetRepeated().GetMaxItems(); n > 0 {
			words = append(words, fmt.Sprintf("at most %s", count(n, "value")))
		}
		for _, w := range stringWords(s.TextRules()) {
			words = append(words, "each "+w)
		}
	case Integer, Size, Number, Duration:
		words = rangeWords(s.Range())
	default:
	}
	for _, rule := range rules.GetCel() {
		words = append(words, rule.GetMessage())
	}
	return strings.Join(words, ", ")
}

func rangeWords(r Range) []string {
	var words []string
	switch {
	case r.Min == nil:
	case r.MinExclusive:
		words = append(words, "more than "+formatFloat(*r.Min))
	case r.Max != nil && !r.MaxExclusive:
		return []string{"from " + formatFloat(*r.Min) + " to " + formatFloat(*r.Max)}
	default:
		words = append(words, "at least "+formatFloat(*r.Min))
	}
	switch {
	case r.Max == nil:
	case r.MaxExclusive:
		words = append(words, "less than "+formatFloat(*r.Max))
	default:
		words = append(words, "at most "+formatFloat(*r.Max))
	}
	return words
}

func stringWords(r *validate.StringRules) []string {
	if r == nil {
		return nil
	}
	var words []string
	if len(r.GetIn()) > 0 {
		var quoted []string
		for _, word := range r.GetIn() {
			if word != "" {
				quoted = append(quoted, strconv.Quote(word))
			}
		}
		words = append(words, "one of "+strings.Join(quoted, ", "))
	}
	lo, hi := r.GetMinLen(), r.GetMaxLen()
	switch {
	case lo > 1 && hi > 0:
		words = append(words, fmt.Sprintf("%d to %s", lo, count(hi, "character")))
	case lo > 1:
		words = append(words, "at least "+count(lo, "character"))
	case lo == 1:
		words = append(words, "not empty")
	}
	if hi > 0 && lo <= 1 {
		words = append(words, "at most "+count(hi, "character"))
	}
	if r.GetUri() {
		words = append(words, "a URL such as http://host:port")
	}
	if r.GetIp() {
		words = append(words, "an IP address")
	}
	if r.GetPattern() != "" {
		words = append(words, "matching "+r.GetPattern())
	}
	return words
}

func count(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.FormatUint(n, 10) + " " + noun + "s"
}

// Expected says what a value has to be, its type included.
func (s *Setting) Expected() string {
	what := ""
	switch s.Kind {
	case Bool:
		return "true or false"
	case Integer:
		what = "a whole number"
	case Number:
		what = "a number"
	case Size:
		what = "a whole number of " + s.UnitName()
	case Duration:
		what = "a number of " + s.UnitName()
	case List:
		what = "values separated by commas"
	default:
	}
	rules := s.Constraint()
	switch {
	case what == "" && rules == "":
		return "a value"
	case what == "":
		return rules
	case rules == "":
		return what
	default:
		return what + ", " + rules
	}
}

// Summary is the first sentence of the description, to go into a message.
func (s *Setting) Summary() string {
	first, _, _ := strings.Cut(s.Description(), ". ")
	return strings.TrimSuffix(first, ".")
}
