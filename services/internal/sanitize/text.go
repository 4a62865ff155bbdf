// Package sanitize makes text of agents and programs, and messages with such
// text, fit to be stored and sent.
package sanitize

import (
	"strings"
	"unicode/utf8"
)

// Text replaces, visibly, what Postgres and protobuf cannot hold: a NUL by
// its symbol, and bytes that are no UTF-8 (half a surrogate among them) by
// U+FFFD.
func Text(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\u2400")
}

// Head returns the beginning of s, at most n bytes that end between characters.
func Head(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
