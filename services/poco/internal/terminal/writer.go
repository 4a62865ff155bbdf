package terminal

import (
	"io"
	"strings"
)

// writer remembers whether the cursor is at the start of a line and the first
// error of the output.
type writer struct {
	w      io.Writer
	column int // bytes since the last newline
	err    error
}

func (w *writer) write(text string) {
	if w.err != nil || text == "" {
		return
	}
	_, w.err = io.WriteString(w.w, text)
	if i := strings.LastIndexByte(text, '\n'); i >= 0 {
		w.column = len(text) - i - 1
	} else {
		w.column += len(text)
	}
}

// Write implements io.Writer, for what is to be written in between.
func (w *writer) Write(p []byte) (int, error) {
	w.write(string(p))
	return len(p), w.err
}

func (w *writer) freshLine() {
	if w.column > 0 {
		w.write("\n")
	}
}
