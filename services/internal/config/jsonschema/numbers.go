package jsonschema

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/poco-ai/poco/services/internal/config/schema"
)

const (
	exponent = `(?:[eE][+-]?[0-9]+)?`
	// Each matches in one way only, so that none takes long to fail.
	decimal = `(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)` + exponent
	zero    = `(?:0+(?:\.0*)?|\.0+)` + exponent
	notZero = `0*(?:[1-9][0-9]*(?:\.[0-9]*)?|\.0*[1-9][0-9]*)` + exponent
	// maxDigits is how many digits any 64-bit integer fits into.
	maxDigits = 19
)

// integers matches whole numbers in a range, written as text: what a limit of
// JSON Schema does not reach. Zeros may stand in front.
func integers(r schema.Range) string {
	if r.Min == nil || *r.Min < 0 {
		return `[+-]?[0-9]+`
	}
	lo, hi := int64(*r.Min), int64(math.MaxInt64)
	if r.MinExclusive {
		lo++
	}
	if r.Max != nil {
		if hi = int64(*r.Max); r.MaxExclusive {
			hi--
		}
	}
	pattern := `\+?0*(?:` + strings.Join(between(lo, hi), `|`) + `)`
	if lo == 0 {
		pattern += `|-0+`
	}
	return pattern
}

// decimals matches numbers in a range, written as text, as far as zero is its
// lower limit; the upper one is the loader's.
func decimals(r schema.Range) string {
	switch {
	case r.Min == nil || *r.Min < 0:
		return `[+-]?` + decimal
	case r.MinExclusive || *r.Min > 0:
		return `\+?` + notZero
	default:
		return `\+?` + decimal + `|-` + zero
	}
}

// between are patterns of the whole numbers from lo to hi, without zeros in
// front.
func between(lo, hi int64) []string {
	var patterns []string
	for n := len(strconv.FormatInt(lo, 10)); n <= len(strconv.FormatInt(hi, 10)); n++ {
		if hi == math.MaxInt64 && n > len(strconv.FormatInt(lo, 10)) {
			return append(patterns, fmt.Sprintf(`[1-9][0-9]{%d,%d}`, n-1, maxDigits-1))
		}
		first, last := "1"+strings.Repeat("0", n-1), strings.Repeat("9", n)
		if n == 1 {
			first = "0"
		}
		if text := strconv.FormatInt(lo, 10); len(text) == n {
			first = text
		}
		if text := strconv.FormatInt(hi, 10); len(text) == n {
			last = text
		}
		patterns = append(patterns, sameLength(first, last)...)
	}
	return patterns
}

// sameLength are patterns of the numbers between two of as many digits.
func sameLength(lo, hi string) []string {
	rest := len(lo) - 1
	if lo[0] == hi[0] && rest > 0 {
		return prefixed(lo[:1], sameLength(lo[1:], hi[1:]))
	}
	// The first digits that any others may follow, between what begins like lo
	// and what begins like hi.
	first, last := lo[0], hi[0]
	var lowest, highest []string
	if strings.Trim(lo[1:], "0") != "" {
		lowest = prefixed(lo[:1], sameLength(lo[1:], strings.Repeat("9", rest)))
		first++
	}
	if strings.Trim(hi[1:], "9") != "" {
		highest = prefixed(hi[:1], sameLength(strings.Repeat("0", rest), hi[1:]))
		last--
	}
	if first <= last {
		lowest = append(lowest, digit(first, last)+anyDigits(rest))
	}
	return append(lowest, highest...)
}

func prefixed(prefix string, patterns []string) []string {
	for i := range patterns {
		patterns[i] = prefix + patterns[i]
	}
	return patterns
}

func digit(lo, hi byte) string {
	if lo == hi {
		return string(lo)
	}
	return `[` + string(lo) + `-` + string(hi) + `]`
}

func anyDigits(n int) string {
	switch n {
	case 0:
		return ""
	case 1:
		return `[0-9]`
	default:
		return fmt.Sprintf(`[0-9]{%d}`, n)
	}
}
