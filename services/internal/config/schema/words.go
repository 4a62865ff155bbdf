package schema

import (
	"fmt"
	"strconv"
	"strings"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Constraint returns a setting's rules in words, in environment notation;
// empty when it has none.
func (s *Setting) Constraint() string {
	rules, err := protovalidate.ResolveFieldRules(s.field)
	if err != nil {
		return ""
	}
	var words []string
	if f, ok := formats[s.GetFormat()]; ok && !s.IsSecret() {
		words = append(words, f.expected)
		if s.Kind == List {
			words[0] = "each " + words[0]
		}
	}
	switch s.Kind {
	case String:
		words = append(words, stringWords(rules.GetString())...)
	case List:
		if n := rules.GetRepeated().GetMinItems(); n > 0 {
			words = append(words, fmt.Sprintf("at least %s", count(n, "value")))
		}
		if n := rules.GetRepeated().GetMaxItems(); n > 0 {
			words = append(words, fmt.Sprintf("at most %s", count(n, "value")))
		}
		for _, w := range stringWords(rules.GetRepeated().GetItems().GetString()) {
			words = append(words, "each "+w)
		}
	case Integer, Size:
		if r := rules.GetInt32(); r != nil {
			words = rangeWords(optional(r.HasGte(), r.GetGte(), s.integerWords), optional(r.HasGt(), r.GetGt(), s.integerWords),
				optional(r.HasLte(), r.GetLte(), s.integerWords), optional(r.HasLt(), r.GetLt(), s.integerWords))
		}
		if r := rules.GetInt64(); r != nil {
			words = rangeWords(optional(r.HasGte(), r.GetGte(), s.longWords), optional(r.HasGt(), r.GetGt(), s.longWords),
				optional(r.HasLte(), r.GetLte(), s.longWords), optional(r.HasLt(), r.GetLt(), s.longWords))
		}
	case Number:
		if r := rules.GetDouble(); r != nil {
			words = rangeWords(optional(r.HasGte(), r.GetGte(), formatFloat), optional(r.HasGt(), r.GetGt(), formatFloat),
				optional(r.HasLte(), r.GetLte(), formatFloat), optional(r.HasLt(), r.GetLt(), formatFloat))
		}
	case Duration:
		if r := rules.GetDuration(); r != nil {
			words = rangeWords(optional(r.HasGte(), r.GetGte(), s.durationWords), optional(r.HasGt(), r.GetGt(), s.durationWords),
				optional(r.HasLte(), r.GetLte(), s.durationWords), optional(r.HasLt(), r.GetLt(), s.durationWords))
		}
	default:
	}
	for _, rule := range rules.GetCel() {
		words = append(words, rule.GetMessage())
	}
	return strings.Join(words, ", ")
}

func (s *Setting) integerWords(n int32) string { return s.longWords(int64(n)) }

func (s *Setting) longWords(n int64) string {
	if unit := sizeUnit(s.GetUnit()); unit > 0 {
		return formatFloat(float64(n) / float64(unit))
	}
	return strconv.FormatInt(n, 10)
}

func (s *Setting) durationWords(d *durationpb.Duration) string { return s.formatDuration(d) }

// optional returns a bound in words; empty when the rule does not have it.
func optional[T any](has bool, bound T, words func(T) string) string {
	if !has {
		return ""
	}
	return words(bound)
}

func rangeWords(gte, gt, lte, lt string) []string {
	var words []string
	switch {
	case gte != "" && lte != "":
		return []string{"from " + gte + " to " + lte}
	case gte != "":
		words = append(words, "at least "+gte)
	case gt != "":
		words = append(words, "more than "+gt)
	}
	switch {
	case lte != "":
		words = append(words, "at most "+lte)
	case lt != "":
		words = append(words, "less than "+lt)
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
