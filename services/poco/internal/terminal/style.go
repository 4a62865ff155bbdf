package terminal

import "strconv"

// Style colours text, or leaves it plain when it is false.
type Style bool

// SGR codes of the few looks that are used.
const (
	bold   = 1
	dim    = 2
	italic = 3
	red    = 31
	green  = 32
	yellow = 33
	cyan   = 36
)

func (s Style) on(code int) string {
	if !s {
		return ""
	}
	return "\x1b[" + strconv.Itoa(code) + "m"
}

func (s Style) off() string {
	if !s {
		return ""
	}
	return "\x1b[0m"
}

func (s Style) text(code int, text string) string { return s.on(code) + text + s.off() }

// Dim returns text in a softer colour.
func (s Style) Dim(text string) string { return s.text(dim, text) }

// Bold returns text in bold.
func (s Style) Bold(text string) string { return s.text(bold, text) }

// Good returns text in the colour of what is as it should be.
func (s Style) Good(text string) string { return s.text(green, text) }

// Warn returns text in the colour of what wants attention.
func (s Style) Warn(text string) string { return s.text(yellow, text) }

// Bad returns text in the colour of what is wrong.
func (s Style) Bad(text string) string { return s.text(red, text) }
