package sanitize

import (
	"bytes"
	"unicode/utf8"
)

// What Postgres cannot store is replaced visibly before anything else reads
// it: a NUL by U+2400 SYMBOL FOR NULL, half a surrogate pair and bytes that are
// not UTF-8 by U+FFFD REPLACEMENT CHARACTER.
const (
	escapedNUL         = `\u2400`
	escapedReplacement = `\ufffd`
	replacement        = "\uFFFD"
	symbolForNUL       = "\u2400"
)

// JSON makes a JSON document storable. It returns the line itself when there is
// nothing to replace, which is nearly always.
func JSON(line []byte) []byte {
	if !utf8.Valid(line) {
		line = bytes.ToValidUTF8(line, []byte(replacement))
	}
	if bytes.IndexByte(line, 0) >= 0 {
		line = bytes.ReplaceAll(line, []byte{0}, []byte(symbolForNUL))
	}
	if !bytes.Contains(line, []byte(`\u`)) {
		return line
	}
	var out []byte
	copied := 0
	replace := func(from int, by string) {
		out = append(append(out, line[copied:from]...), by...)
		copied = from + len(by) // Both are six bytes long: `\uXXXX`.
	}
	for i := 0; i < len(line); {
		if line[i] != '\\' {
			i++
			continue
		}
		unit, ok := escapedUnit(line[i:])
		switch {
		case !ok:
			i += 2 // An escaped character, "\\" among them.
			continue
		case unit == 0:
			replace(i, escapedNUL)
		case isHighSurrogate(unit):
			if low, isEscape := escapedUnit(line[i+6:]); isEscape && isLowSurrogate(low) {
				i += 12
				continue
			}
			replace(i, escapedReplacement)
		case isLowSurrogate(unit):
			replace(i, escapedReplacement)
		}
		i += 6
	}
	if out == nil {
		return line
	}
	return append(out, line[copied:]...)
}

// escapedUnit reads a \uXXXX escape at the start of s.
func escapedUnit(s []byte) (uint16, bool) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	var unit uint16
	for _, c := range s[2:6] {
		unit <<= 4
		switch {
		case '0' <= c && c <= '9':
			unit |= uint16(c - '0')
		case 'a' <= c && c <= 'f':
			unit |= uint16(c-'a') + 10
		case 'A' <= c && c <= 'F':
			unit |= uint16(c-'A') + 10
		default:
			return 0, false
		}
	}
	return unit, true
}

func isHighSurrogate(unit uint16) bool { return 0xD800 <= unit && unit < 0xDC00 }
func isLowSurrogate(unit uint16) bool  { return 0xDC00 <= unit && unit < 0xE000 }
