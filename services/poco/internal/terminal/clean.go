// Package terminal writes what an agent does to a terminal or a plain stream,
// and reads answers from it.
package terminal

import (
	"strings"
	"unicode"
)

// Cleaner makes untrusted text safe to print: it removes escape sequences,
// control characters other than newline and tab, and the marks that reorder
// text on the screen. It keeps its state between calls, because streamed text
// may be cut inside a sequence. The zero value is ready to use.
type Cleaner struct {
	state cleanState
	wasCR bool
}

type cleanState int

const (
	plainText cleanState = iota
	afterEscape
	controlSequence // ESC [ … final byte
	stringSequence  // ESC ] … up to BEL or ESC \
	stringEscape    // ESC inside a string sequence
	oneMore         // ESC ( and the like: one byte follows
)

const (
	escape = '\x1b'
	bell   = '\a'
	csi    = '\u009b'
	st     = '\u009c'
)

// Clean returns text without anything that a terminal would act on.
func Clean(text string) string {
	var c Cleaner
	return c.Clean(text)
}

// OneLine returns text as Clean does, on one line: the text cannot make lines of
// its own.
func OneLine(text string) string { return strings.Join(strings.Fields(Clean(text)), " ") }

// Clean returns the printable part of the next piece of a text.
func (c *Cleaner) Clean(piece string) string {
	var out strings.Builder
	out.Grow(len(piece))
	for _, r := range piece {
		c.next(r, &out)
	}
	return out.String()
}

func (c *Cleaner) next(r rune, out *strings.Builder) {
	switch c.state {
	case plainText:
		c.plain(r, out)
	case afterEscape:
		switch {
		case r == '[':
			c.state = controlSequence
		case strings.ContainsRune("]PX^_", r):
			c.state = stringSequence
		case r >= ' ' && r <= '/':
			c.state = oneMore
		default:
			c.state = plainText
			if r == '\n' {
				out.WriteRune(r)
			}
		}
	case controlSequence:
		switch {
		case r == escape:
			c.state = afterEscape
		case r == '\n': // broken sequence: do not eat the rest of the text
			c.state = plainText
			out.WriteRune(r)
		case r >= '@' && r <= '~':
			c.state = plainText
		}
	case stringSequence:
		switch r {
		case bell, st, '\n':
			c.state = plainText
		case escape:
			c.state = stringEscape
		}
	case stringEscape:
		if r == '\\' {
			c.state = plainText
		} else {
			c.state = afterEscape
			c.next(r, out)
		}
	case oneMore:
		c.state = plainText
	}
}

func (c *Cleaner) plain(r rune, out *strings.Builder) {
	wasCR := c.wasCR
	c.wasCR = r == '\r'
	switch {
	case r == escape:
		c.state = afterEscape
	case r == csi:
		c.state = controlSequence
	case r == '\u0090' || r == '\u0098' || r == '\u009d' || r == '\u009e' || r == '\u009f':
		c.state = stringSequence
	case r == '\r': // a line that is written over: show both, one below the other
		out.WriteRune('\n')
	case r == '\n':
		if !wasCR {
			out.WriteRune(r)
		}
	case r == '\t':
		out.WriteRune(r)
	case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
	default:
		out.WriteRune(r)
	}
}

// Line returns text as one safe line of at most width runes.
func Line(text string, width int) string {
	return cut(OneLine(text), width)
}
