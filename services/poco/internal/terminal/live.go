package terminal

import (
	"strings"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

type pieceKind int

const (
	textPiece pieceKind = iota
	thinkingPiece
)

// livePiece is a block that was printed while the model wrote it.
type livePiece struct {
	messageID string
	block     int32
	kind      pieceKind
	cleaner   Cleaner
	shown     strings.Builder // as printed, after cleaning
}

// Partial prints text that is being written. Its whole message follows as an
// event; what was shown is not shown again then.
func (r *Renderer) Partial(partial *backendv1.PartialContent) error {
	run := r.run(partial.GetRunId())
	// A late piece of a message that is already printed.
	if !r.opts.Live || run.done || partial.GetAfterRunSeq() < run.lastMessage {
		return r.out.err
	}
	kind, text := textPiece, partial.GetText()
	if thinking, ok := partial.GetDelta().(*backendv1.PartialContent_Thinking); ok {
		kind, text = thinkingPiece, thinking.Thinking
	}
	piece := run.lastPiece()
	if piece == nil || piece.messageID != partial.GetAgentMessageId() || piece.block != partial.GetBlockIndex() {
		piece = &livePiece{messageID: partial.GetAgentMessageId(), block: partial.GetBlockIndex(), kind: kind}
		run.live = append(run.live, piece)
		r.out.freshLine()
	}
	clean := piece.cleaner.Clean(text)
	if piece.shown.Len() == 0 {
		clean = strings.TrimLeft(clean, "\n")
	}
	piece.shown.WriteString(clean)
	r.out.write(r.look(kind, clean))
	return r.out.err
}

func (v *runView) lastPiece() *livePiece {
	if len(v.live) == 0 {
		return nil
	}
	return v.live[len(v.live)-1]
}

// wholeText prints a block of a stored message: only its rest where it was
// shown live and nothing came between, all of it otherwise.
func (r *Renderer) wholeText(run *runView, kind pieceKind, text string) {
	text = strings.Trim(Clean(text), "\n")
	if text == "" {
		return
	}
	for i, piece := range run.live {
		if piece.kind != kind {
			continue
		}
		shown := strings.TrimRight(piece.shown.String(), "\n")
		rest, isPrefix := strings.CutPrefix(text, shown)
		if !isPrefix || (rest != "" && i != len(run.live)-1) {
			continue
		}
		run.live = append(run.live[:i:i], run.live[i+1:]...)
		r.out.write(r.look(kind, rest))
		r.out.freshLine()
		return
	}
	r.entry(r.look(kind, text))
}

func (r *Renderer) look(kind pieceKind, text string) string {
	if kind == thinkingPiece && text != "" {
		return r.style.text(dim, text)
	}
	return text
}
